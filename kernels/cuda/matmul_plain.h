#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// Products of `count` prepared rows x [count, weight.padded_columns()], in f32 arithmetic on the
// values that the weight stands for.
void multiply_plain(const Stream& stream, const float* x, int64_t count, const PackedMatrix& weight,
                    const Products& out);

}  // namespace dinfer::cuda
