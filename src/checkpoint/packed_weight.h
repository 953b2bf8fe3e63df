#pragma once

#include <cstdint>
#include <optional>

#include "checkpoint/checkpoint.h"

namespace dinfer {

// Where the codes of a packed matrix [rows = outputs, columns = inputs] are. A word is 32 bits of
// codes, the first in its lowest bits.
enum class CodeLayout : uint8_t {
  gptq,   // words [columns / codes, rows]: codes of consecutive columns
  awq,    // words [columns, rows / 8]: 4-bit codes of rows 0, 2, 4, 6, 1, 3, 5, 7 of each 8
  rows,   // words [rows, columns / codes]: compressed-tensors' "pack-quantized"
  bytes,  // int8 [rows, columns]: compressed-tensors' "int-quantized"
  fp8,    // f8_e4m3 [rows, columns]
};

// A weight matrix that its file holds as several tensors: codes, and scales (and zeros) that blocks
// of it share. Element (r, c) is scale * (code - zero), or scale * f8. All shapes have been
// checked.
struct PackedWeight {
  CodeLayout layout = CodeLayout::rows;
  int bits = 4;            // of a code: 4 or 8
  int64_t block_rows = 1;  // elements that share a scale
  int64_t block_columns = 0;
  int group = 0;               // of the quantised family that it is loaded to; 0: loaded as f16
  bool by_activation = false;  // `order` names the groups of columns, which are no runs
  bool symmetric = true;       // all zeros are said to be the middle of the codes' range
  int zero_offset = 0;         // what stored zeros lack
  TensorInfo codes;
  TensorInfo scales;                // f32, f16 or bf16 [rows / block_rows, blocks], with gptq and
                                    // awq [blocks, rows]
  std::optional<TensorInfo> zeros;  // words of codes like the scales, packed along the rows, or i8
  std::optional<TensorInfo> order;  // i32 [columns]: each one's group

  int64_t blocks(int64_t columns) const { return (columns + block_columns - 1) / block_columns; }
  bool transposed() const { return layout == CodeLayout::gptq || layout == CodeLayout::awq; }
};

}  // namespace dinfer
