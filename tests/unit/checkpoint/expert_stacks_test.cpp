#include "checkpoint/expert_stacks.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/model_files.h"
#include "checkpoint/model_tensors.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::model_error;
using test::TemporaryDirectory;

// A reference model with the matrices of each layer's experts in stacks.
class StackedModel {
 public:
  explicit StackedModel(const std::string& name) : original_({test::kModels / "hf" / name, false}) {
    const ModelConfig config = read_model_config(original_);
    const auto checkpoint = open_checkpoint(original_);
    for (const TensorInfo& tensor : checkpoint->tensors()) {
      if (tensor.name.find(".experts.") == std::string::npos)
        add(without_block(tensor.name), tensor.shape, bytes_of(*checkpoint, tensor));
    }
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      std::string gate_up, down;
      for (const MlpModules& expert : mlp_modules(config, layer)) {
        for (const std::string& module : {expert.gate, expert.up})
          gate_up += bytes_of(*checkpoint, *checkpoint->find(module + ".weight"));
        down += bytes_of(*checkpoint, *checkpoint->find(expert.down + ".weight"));
      }
      const int64_t count = config.experts.count, ffn = config.experts.ffn;
      const std::string experts = fmt::format("model.layers.{}.mlp.experts.", layer);
      add(experts + "gate_up_proj", {count, 2 * ffn, config.hidden}, gate_up);
      add(experts + "down_proj", {count, config.hidden, ffn}, down);
    }
    files_ = {directory_.path(), false};
    directory_.write("config.json", read_text_file(original_.path / "config.json", 1 << 20));
    write();
  }

  static std::string bytes_of(const Checkpoint& checkpoint, const TensorInfo& tensor) {
    std::string bytes(tensor.bytes, '\0');
    checkpoint.read(tensor, 0, std::as_writable_bytes(std::span(bytes)));
    return bytes;
  }

  void reshape(const std::string& name, const std::vector<int64_t>& shape) {
    shapes_.at(name) = shape;
    write();
  }

  const ModelFiles& original() const { return original_; }
  const ModelFiles& files() const { return files_; }

 private:
  static std::string without_block(std::string name) {
    constexpr std::string_view kBlock = ".block_sparse_moe.";
    const size_t at = name.find(kBlock);
    return at == std::string::npos ? name : name.replace(at, kBlock.size(), ".mlp.");
  }

  void add(const std::string& name, const std::vector<int64_t>& shape, const std::string& bytes) {
    shapes_[name] = shape;
    bytes_[name] = bytes;
  }

  void write() const {
    Json header;
    std::string data;
    for (const auto& [name, bytes] : bytes_) {
      header[name] = {{"dtype", "BF16"},
                      {"shape", shapes_.at(name)},
                      {"data_offsets", {data.size(), data.size() + bytes.size()}}};
      data += bytes;
    }
    directory_.write("model.safetensors", test::safetensors(header.dump(), 0) + data);
  }

  TemporaryDirectory directory_;
  ModelFiles original_, files_;
  std::map<std::string, std::vector<int64_t>> shapes_;
  std::map<std::string, std::string> bytes_;
};

TEST(ExpertStacks, HoldTheMatricesThatExpertsHaveByThemselves) {
  for (const char* name : {"mixtral", "qwen3-moe"}) {
    const StackedModel model(name);
    const ModelConfig config = read_model_config(model.files());
    const auto stacked = open_checkpoint(model.files());
    const auto original = open_checkpoint(model.original());
    check_tensors(*stacked, config);
    for (const ModelTensor& tensor : model_tensors(config)) {
      EXPECT_EQ(StackedModel::bytes_of(*stacked, *stacked->find(tensor.name)),
                StackedModel::bytes_of(*original, *original->find(tensor.name)))
          << tensor.name;
    }
  }
}

TEST(ExpertStacks, MustHaveTheShapeThatTheConfigAsksFor) {
  StackedModel model("mixtral");
  model.reshape("model.layers.1.mlp.experts.down_proj", {4, 96, 64});
  const std::string error = model_error([&] { open_checkpoint(model.files()); });
  EXPECT_NE(error.find("\"model.layers.1.mlp.experts.down_proj\" has shape [4, 96, 64], but the "
                       "model's config asks for [4, 64, 96]"),
            std::string::npos)
      << error;
}

}  // namespace
}  // namespace dinfer
