#pragma once

#include <cstdint>

#include <cuda.h>

namespace dinfer::cuda {

// What a copy of boxes from global memory needs to know: cuda.h's, in kernels' parameters.
using TensorMap = CUtensorMap;

// Rows of `columns` f16 numbers, a multiple of 8, one after the other; boxes of so many of them,
// the 16-byte pieces of whose rows of 128 bytes lie in the place (piece ^ row % 8) in shared
// memory. Columns past the last are zeros there.
TensorMap map_rows(const void* rows, int columns, int box_columns, int box_rows);

}  // namespace dinfer::cuda
