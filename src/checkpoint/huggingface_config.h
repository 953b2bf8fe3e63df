#pragma once

#include <filesystem>

#include "checkpoint/model_config.h"

namespace dinfer {

// The config of a model directory: config.json with the keys of transformers 4 or 5, and the
// end-of-text tokens of generation_config.json.
ModelConfig read_huggingface_config(const std::filesystem::path& directory);

}  // namespace dinfer
