#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/file.h"
#include "checkpoint/file_checkpoint.h"

namespace dinfer {

// An entry of a safetensors header (https://github.com/huggingface/safetensors#format), checked:
// its bytes are inside the file and are what dtype and shape need.
struct SafetensorsTensor {
  std::string name;
  std::string dtype;                // as in the file: "BF16", "F8_E4M3", ...
  std::optional<StorageType> type;  // none: a dtype that is never read
  std::vector<int64_t> shape;
  uint64_t offset = 0;  // bytes from the start of the file
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsTensor> tensors;  // in the order of their bytes, which leave no gap
  uint64_t data_begin = 0;                 // bytes before the data of the first tensor
};

SafetensorsHeader read_safetensors_header(const File& file);

// Opens one .safetensors file, or the model in a directory: model.safetensors, or the shards that
// model.safetensors.index.json names.
std::unique_ptr<FileCheckpoint> open_safetensors(const std::filesystem::path& path);

}  // namespace dinfer
