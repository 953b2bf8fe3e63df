#pragma once

#include <filesystem>
#include <memory>

#include "checkpoint/checkpoint.h"

namespace dinfer {

// Opens a GGUF model by its only or first file (-00001-of-0000N.gguf). Tensors have Hugging Face
// names.
std::unique_ptr<Checkpoint> open_gguf(const std::filesystem::path& path);

}  // namespace dinfer
