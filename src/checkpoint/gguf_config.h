#pragma once

#include <filesystem>

#include "checkpoint/model_config.h"

namespace dinfer {

// The config of a GGUF model, from its metadata (keys: the GGUF specification, "LLM" section) and
// from which tensors it has.
ModelConfig read_gguf_config(const std::filesystem::path& path);

}  // namespace dinfer
