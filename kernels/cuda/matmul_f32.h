#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// Products of `count` rows x [count, stride] with an f32 matrix, in f32 arithmetic.
void multiply_f32(const Stream& stream, const float* x, int64_t count, int64_t stride,
                  const PackedMatrix& weight, const Products& out);

}  // namespace dinfer::cuda
