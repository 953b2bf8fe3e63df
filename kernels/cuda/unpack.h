#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

// out[i, columns] = scale * row (rows[i] - first_row) of the matrix as f32; zeros where the matrix
// has no such row. `rows` is in device memory; `count` of them.
void unpack_rows(const Stream& stream, const PackedMatrix& matrix, const int32_t* rows,
                 int64_t count, int64_t first_row, float scale, float* out);

// Rows [begin, end) of a grouped matrix, a multiple of kPanel at the begin, rounded to bf16: out
// [end - begin, padded_columns].
void unpack_bf16(const Stream& stream, const PackedMatrix& matrix, int64_t begin, int64_t end,
                 void* out);

}  // namespace dinfer::cuda
