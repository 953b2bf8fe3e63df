#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"

namespace dinfer {

// Sampling defaults of generation_config.json.
struct GenerationDefaults {
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  std::optional<int> top_k;
  bool do_sample = false;
};

// Where a model comes from, found from what the user gave as -m: a directory in Hugging Face's
// layout, a .gguf file (first shard of several), or the name ORG/NAME of a model in the local hub
// cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub; `revision` a branch or commit).
// Never reaches the network.
struct ModelFiles {
  std::filesystem::path path;  // directory, or the (first) .gguf file
  bool gguf = false;
};

ModelFiles locate_model(const std::string& model, const std::string& revision);

// All of these throw Error(model_files) naming file, tensor or key, and the rule that is broken.
std::unique_ptr<Checkpoint> open_checkpoint(const ModelFiles& files);
ModelConfig read_model_config(const ModelFiles& files);
GenerationDefaults read_generation_defaults(const ModelFiles& files);

// Whether the files have every tensor that this config needs, in its shape: seen before any is
// read.
void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace dinfer
