#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_files.h"
#include "tests/support/temporary_directory.h"

namespace dinfer::test {

// Model directories with one module "m" whose weight is packed, and what its weight is: each format
// written down once more, plainly and without dinfer's readers.

struct StoredTensor {
  std::string name;
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

struct PackedModel {
  std::string quantization_config;  // JSON
  std::vector<StoredTensor> tensors;
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<float> values;  // [rows, columns], exact in f32

  StoredTensor& tensor(const std::string& name);
  void remove(const std::string& name);
  // Writes config.json and model.safetensors.
  ModelFiles write(const TemporaryDirectory& directory) const;
};

struct PackedShape {
  int64_t rows;
  int64_t columns;
  int64_t group;  // columns that share a scale; 0: all
};

// Zeros anywhere in the codes' range, or all in its middle.
enum class Zeros : uint8_t { middle, any };

// `shuffled`: with columns in groups of any order (desc_act). `version`: 1 or 2 of the format.
PackedModel gptq_model(const PackedShape& shape, int bits, Zeros zeros, bool shuffled = false,
                       int version = 1);
PackedModel awq_model(const PackedShape& shape);
// `scale_dtype`: F16, BF16 or F32. Zeros that are not in the middle are stored as words, or as
// int8.
PackedModel compressed_model(const PackedShape& shape, int bits, Zeros zeros,
                             const std::string& scale_dtype = "BF16", bool zero_words = true,
                             bool shuffled = false);
PackedModel int8_model(const PackedShape& shape);
// One scale for block_rows x block_columns; 0: for all rows or columns. `scale_name`: weight_scale
// or weight_scale_inv.
PackedModel fp8_model(int64_t rows, int64_t columns, int64_t block_rows, int64_t block_columns,
                      const std::string& scale_dtype, const std::string& scale_name);

}  // namespace dinfer::test
