#pragma once

#include <cstdint>

#include "base/error.h"
#include "quant/quantize.h"

namespace dinfer::fuzz {

// Reads from every tensor of a checkpoint what a rank would: vectors, and a slice of each matrix
// whose cuts fall inside blocks; and rounds it. Refusals are fine.
inline void read_slices(const Checkpoint& checkpoint) {
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    try {
      if (tensor.shape.size() == 1) load_vector(checkpoint, tensor);
      if (tensor.shape.size() != 2) continue;
      const int64_t rows = tensor.shape[0], columns = tensor.shape[1];
      const Slice slice{rows / 3, rows - rows / 4, columns / 3, columns - columns / 5};
      dequantize(load_matrix(checkpoint, tensor, slice, {}));
      dequantize(load_matrix(checkpoint, tensor, slice, {4, 32}));
    } catch (const Error&) {
    }
  }
}

}  // namespace dinfer::fuzz
