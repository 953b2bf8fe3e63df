#include "checkpoint/model_files.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <tuple>

#include "tests/support/temporary_directory.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::kModels;
using test::model_error;
using test::TemporaryDirectory;

TEST(LocateModel, TakesDirectoriesAndGgufFilesAsTheyAre) {
  const ModelFiles directory = locate_model(kModels / "hf/llama-4h", "");
  EXPECT_FALSE(directory.gguf);
  const ModelFiles file = locate_model(kModels / "gguf/qwen3/qwen3-F16.gguf", "");
  EXPECT_TRUE(file.gguf);
}

TEST(LocateModel, SaysWhatIsWrongWithOtherPaths) {
  const auto error = [](const std::filesystem::path& path) {
    return model_error([&] { locate_model(path, ""); });
  };
  EXPECT_NE(error(kModels / "gguf/qwen3").find("qwen3-F16.gguf"), std::string::npos);
  EXPECT_NE(error(kModels / "hf/llama-4h/config.json").find("neither"), std::string::npos);
  EXPECT_NE(error(kModels / "nothing").find("no such file"), std::string::npos);
  EXPECT_NE(error("").find("no such file"), std::string::npos);
  TemporaryDirectory directory;
  EXPECT_NE(error(directory.path()).find("no config.json"), std::string::npos);
  EXPECT_NE(error(directory.write("x.gguf", "GGU")).find("does not begin"), std::string::npos);
}

class HubCache : public testing::Test {
 protected:
  HubCache() { ::setenv("HF_HUB_CACHE", cache_.path().c_str(), 1); }
  ~HubCache() override { ::unsetenv("HF_HUB_CACHE"); }

  TemporaryDirectory cache_;
};

TEST_F(HubCache, IsSearchedByNameAndRevision) {
  const std::string model = "models--org--name.v1";
  cache_.write(model + "/refs/main", "abc123\n");
  cache_.write(model + "/refs/pr/1", "def456");
  cache_.write(model + "/snapshots/abc123/config.json", "{}");
  cache_.write(model + "/snapshots/def456/config.json", "{}");
  const auto found = [](const char* revision) {
    return locate_model("org/name.v1", revision).path.filename();
  };
  EXPECT_EQ(found(""), "abc123");
  EXPECT_EQ(found("pr/1"), "def456");
  EXPECT_EQ(found("def456"), "def456");
}

TEST_F(HubCache, NamesThePlacesItLookedAt) {
  const std::string error = model_error([] { locate_model("org/name", ""); });
  EXPECT_NE(error.find(cache_.path().string()), std::string::npos) << error;
  EXPECT_NE(error.find("--download"), std::string::npos) << error;
}

TEST_F(HubCache, NeverLeadsOutside) {
  cache_.write("outside/config.json", "{}");
  cache_.write("models--org--name/refs/main", "../../outside");
  EXPECT_NE(model_error([] { locate_model("org/name", ""); }).find("not found"), std::string::npos);
  for (const char* revision : {"../../outside", "/outside", "a/../../b", "."}) {
    EXPECT_NE(model_error([&] { locate_model("org/name", revision); }).find("--revision"),
              std::string::npos)
        << revision;
  }
  EXPECT_NE(model_error([] { locate_model("../name", ""); }).find("not a hub name"),
            std::string::npos);
  EXPECT_NE(model_error([] { locate_model("org/..", ""); }).find("not a hub name"),
            std::string::npos);
}

TEST(GenerationDefaults, AreThoseOfTheFile) {
  TemporaryDirectory directory;
  const ModelFiles files{directory.path(), false};
  EXPECT_FALSE(read_generation_defaults(files).do_sample) << "there is no file";
  directory.write("generation_config.json",
                  R"({"do_sample":true,"temperature":0.5,"top_p":null,"top_k":20})");
  const GenerationDefaults defaults = read_generation_defaults(files);
  EXPECT_TRUE(defaults.do_sample);
  EXPECT_EQ(defaults.temperature, 0.5);
  EXPECT_EQ(defaults.top_p, std::nullopt);
  EXPECT_EQ(defaults.top_k, 20);
  directory.write("generation_config.json", R"({"top_k":-1})");
  EXPECT_EQ(read_generation_defaults(files).top_k, 0) << "all";
  directory.write("generation_config.json", R"({"top_k":-2})");
  EXPECT_NE(model_error([&] { read_generation_defaults(files); }).find("\"top_k\" is -2"),
            std::string::npos);
}

TEST(CheckTensors, AcceptsEveryReferenceModel) {
  int models = 0;
  for (const auto& entry : std::filesystem::directory_iterator(kModels / "hf")) {
    const ModelFiles files{entry.path(), false};
    check_tensors(*open_checkpoint(files), read_model_config(files));
    ++models;
  }
  EXPECT_EQ(models, 13);
}

TEST(CheckTensors, NamesAMissingOrMisshapenTensor) {
  const ModelFiles files{kModels / "hf/llama-4h", false};
  const auto checkpoint = open_checkpoint(files);
  const ModelConfig config = read_model_config(files);
  const auto error = [&](auto change) {
    ModelConfig changed = config;
    change(changed);
    return model_error([&] { check_tensors(*checkpoint, changed); });
  };
  EXPECT_NE(
      error([](ModelConfig& c) { c.layers = 3; }).find("\"model.layers.2.input_layernorm.weight\""),
      std::string::npos);
  EXPECT_NE(error([](ModelConfig& c) {
              c.ffn = 200;
            }).find("has shape [192, 64], but the model's config asks for [200, 64]"),
            std::string::npos);
  EXPECT_NE(error([](ModelConfig& c) { c.vocab = 511; }).find("model.embed_tokens.weight"),
            std::string::npos);
  EXPECT_NE(error([](ModelConfig& c) { c.qkv_bias = true; }).find("q_proj.bias"),
            std::string::npos);
  EXPECT_NE(error([](ModelConfig& c) { c.qk_norm = true; }).find("q_norm.weight"),
            std::string::npos);
  EXPECT_NE(error([](ModelConfig& c) { c.fused_qkv = true; }).find("qkv_proj"), std::string::npos);
  EXPECT_EQ(error([](ModelConfig& c) { c.tied_head = true; }), "");  // the copy is left unread
}

TEST(CheckTensors, NamesTheExpertThatIsMissingOrMisshapen) {
  for (const auto& [model, block, gate] :
       {std::tuple{"mixtral", "block_sparse_moe", "w1"}, {"qwen3-moe", "mlp", "gate_proj"}}) {
    const ModelFiles files{kModels / "hf" / model, false};
    const auto checkpoint = open_checkpoint(files);
    const ModelConfig config = read_model_config(files);
    const auto error = [&](auto change) {
      ModelConfig changed = config;
      change(changed.experts);
      return model_error([&] { check_tensors(*checkpoint, changed); });
    };
    const std::string own = std::string("model.layers.0.") + block;
    EXPECT_NE(error([](ExpertConfig& e) { ++e.count; }).find(own + ".gate.weight"),
              std::string::npos);
    EXPECT_NE(error([](ExpertConfig& e) { ++e.ffn; }).find(own + ".experts.0." + gate),
              std::string::npos);
    EXPECT_NE(
        error([](ExpertConfig& e) { e.mixtral_names = !e.mixtral_names; }).find("lack tensor"),
        std::string::npos);
    EXPECT_NE(error([](ExpertConfig& e) {
                e.layers[1] = false;
              }).find("\"model.layers.1.mlp.gate_proj.weight\""),
              std::string::npos);
  }
}

TEST(CheckTensors, WantsAHeadUnlessItIsTied) {
  const ModelFiles files{kModels / "hf/llama-9h-tied", false};
  ModelConfig config = read_model_config(files);
  config.tied_head = false;
  const std::string error = model_error([&] { check_tensors(*open_checkpoint(files), config); });
  EXPECT_NE(error.find("\"lm_head.weight\""), std::string::npos) << error;
}

}  // namespace
}  // namespace dinfer
