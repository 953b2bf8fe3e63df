#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/model_files.h"
#include "checkpoint/safetensors.h"
#include "device/cpu_device.h"
#include "quant/quantize.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/model/run_model.h"

namespace dinfer {
namespace {

// The forward pass of real files, on the reference device and on the exact CPU device, against
// logits of Hugging Face's transformers in f32.

// Their logits move by up to 1e-5 of the norm between f32 and f64.
constexpr double kTolerance = 5e-5;

const std::filesystem::path kModels =
    std::filesystem::path(DINFER_SOURCE_DIR) / "tests/golden/models";

std::unique_ptr<Device> make_exact_cpu() {
  return make_cpu_device({.threads = 1, .math = CpuMath::f32});
}

struct Prompt {
  std::vector<int32_t> tokens;
  std::vector<float> logits;  // [tokens, vocab]; empty: not recorded
};

// The prompts in `golden` (a model's or a form's), with their recorded logits.
std::vector<Prompt> read_prompts(const Json& golden, const std::filesystem::path& directory) {
  const auto recorded = open_safetensors(directory / "golden.safetensors");
  std::vector<Prompt> prompts;
  for (const Json& entry : golden.at("prompts")) {
    Prompt prompt{.tokens = entry.at("ids").get<std::vector<int32_t>>()};
    if (entry.contains("logits")) {
      const TensorInfo* tensor = recorded->find(entry.at("logits").get<std::string>());
      check(tensor != nullptr && tensor->type == StorageType::f32, "the logits are recorded");
      prompt.logits.resize(tensor->bytes / sizeof(float));
      recorded->read(*tensor, 0, std::as_writable_bytes(std::span(prompt.logits)));
    }
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Json read_golden(const std::filesystem::path& directory) {
  const std::filesystem::path path = directory / "golden.json";
  return parse_json(read_text_file(path, 64 << 20), path.string(), ExitCode::model_files);
}

struct Model {
  explicit Model(const ModelFiles& files)
      : checkpoint(open_checkpoint(files)), config(read_model_config(files)) {
    check_tensors(*checkpoint, config);
  }

  double error(const Prompt& prompt, const test::Run& run = {}) const {
    return test::relative_error(test::logits_of(*checkpoint, config, prompt.tokens, run),
                                prompt.logits);
  }

  std::unique_ptr<Checkpoint> checkpoint;
  ModelConfig config;
};

class GoldenHf : public ::testing::TestWithParam<const char*> {
 protected:
  std::filesystem::path directory = kModels / "hf" / GetParam();
  Model model{ModelFiles{.path = directory}};
  std::vector<Prompt> prompts = read_prompts(read_golden(directory), directory);
};

TEST_P(GoldenHf, LogitsOfEveryPromptAgree) {
  ASSERT_EQ(prompts.size(), 4u);
  for (const Prompt& prompt : prompts) {
    EXPECT_LT(model.error(prompt), kTolerance) << prompt.tokens.size() << " tokens";
  }
}

TEST_P(GoldenHf, LogitsAgreeInChunks) {
  EXPECT_LT(model.error(prompts.back(), {.chunk = 13}), kTolerance);
}

TEST_P(GoldenHf, LogitsAgreeForEveryNumberOfRanks) {
  const std::vector<int> sizes = tensor_parallel_sizes(model.config, 12);
  ASSERT_GE(sizes.size(), 3u);
  for (int ranks : sizes) {
    EXPECT_LT(model.error(prompts.at(2), {.ranks = ranks, .chunk = 24}), kTolerance)
        << ranks << " ranks";
  }
}

TEST_P(GoldenHf, LogitsAgreeOnTheExactCpuDevice) {
  for (const Prompt& prompt : prompts) {
    EXPECT_LT(model.error(prompt, {.make_device = make_exact_cpu}), kTolerance)
        << prompt.tokens.size() << " tokens";
  }
  const int ranks = tensor_parallel_sizes(model.config, 12).back();
  EXPECT_LT(model.error(prompts.at(2), {.ranks = ranks, .make_device = make_exact_cpu}),
            kTolerance);
}

// Quantised weights are other weights: ranks must agree with one rank, not with the golden logits.
TEST_P(GoldenHf, QuantisedRanksAgreeWithOneRank) {
  for (int bits : {8, 4}) {
    test::Run run{.quant = {.bits = bits, .group = 32}};
    Prompt one = prompts.at(1);
    EXPECT_LT(model.error(one, run), bits == 8 ? 0.08 : 0.7) << bits << " bits";
    one.logits = test::logits_of(*model.checkpoint, model.config, one.tokens, run);
    for (int ranks : tensor_parallel_sizes(model.config, 12)) {
      run.ranks = ranks;
      EXPECT_LT(model.error(one, run), kTolerance) << bits << " bits, " << ranks << " ranks";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, GoldenHf,
                         ::testing::Values("gemma3", "llama-4h", "llama-9h-tied", "llama-rope3",
                                           "mistral-swa", "phi3", "qwen2-tied", "qwen3-sharded",
                                           "qwen3-yarn"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

// A model for images too has its language model a level further down, under names that depend on
// the version of transformers.
TEST(GoldenNested, TextPartOfAModelForImagesGivesItsLogits) {
  const std::filesystem::path source = kModels / "hf/gemma3";
  const std::vector<Prompt> prompts = read_prompts(read_golden(source), source);
  const std::string file = read_text_file(source / "model.safetensors", 64 << 20);
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  const Json header =
      parse_json(file.substr(sizeof(header_bytes), header_bytes), "header", ExitCode::model_files);
  const Json text = parse_json(read_text_file(source / "config.json", 1 << 20), "config.json",
                               ExitCode::model_files);
  for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
    Json renamed = Json::object();
    for (const auto& [name, tensor] : header.items()) {
      const bool of_model = name.starts_with("model.");
      renamed[of_model ? prefix + name.substr(sizeof("model.") - 1) : name] = tensor;
    }
    const std::string names = renamed.dump();
    const uint64_t names_bytes = names.size();
    test::TemporaryDirectory directory;
    directory.write("config.json", Json{{"architectures", {"Gemma3ForConditionalGeneration"}},
                                        {"text_config", text},
                                        {"vision_config", Json::object()}}
                                       .dump());
    directory.write("model.safetensors",
                    std::string(reinterpret_cast<const char*>(&names_bytes), sizeof(names_bytes)) +
                        names + file.substr(sizeof(header_bytes) + header_bytes));
    const Model model(ModelFiles{.path = directory.path()});
    EXPECT_LT(model.error(prompts.at(2)), kTolerance) << prefix;
  }
}

class GoldenGguf : public ::testing::TestWithParam<std::pair<const char*, size_t>> {};

TEST_P(GoldenGguf, LogitsOfEveryFormAgreeForEveryNumberOfRanks) {
  const std::filesystem::path directory = kModels / "gguf" / GetParam().first;
  const Json golden = read_golden(directory);
  ASSERT_EQ(golden.at("forms").size(), GetParam().second);
  for (const Json& form : golden.at("forms")) {
    const auto file = form.at("file").get<std::string>();
    const Model model(ModelFiles{.path = directory / file, .gguf = true});
    size_t recorded = 0;
    for (const Prompt& prompt : read_prompts(form, directory)) {
      if (prompt.logits.empty()) continue;
      ++recorded;
      for (int ranks : tensor_parallel_sizes(model.config, 8)) {
        EXPECT_LT(model.error(prompt, {.ranks = ranks}), kTolerance)
            << file << ", " << ranks << " ranks";
        EXPECT_LT(model.error(prompt, {.ranks = ranks, .make_device = make_exact_cpu}), kTolerance)
            << file << ", " << ranks << " CPU ranks";
      }
    }
    EXPECT_EQ(recorded, 1u) << file;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, GoldenGguf,
    ::testing::Values(std::pair("gemma3", size_t{1}), std::pair("llama-4h", size_t{8}),
                      std::pair("llama-k", size_t{7}), std::pair("llama-rope3", size_t{2}),
                      std::pair("qwen2-tied", size_t{8}), std::pair("qwen3", size_t{8})),
    [](const auto& info) {
      std::string name = info.param.first;
      std::replace(name.begin(), name.end(), '-', '_');
      return name;
    });

}  // namespace
}  // namespace dinfer
