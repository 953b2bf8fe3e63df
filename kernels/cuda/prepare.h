#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// What is done to the rows, as f32: out [count, stride], columns past rows.columns zero.
void prepare_f32(const Stream& stream, const Rows& rows, float* out, int64_t stride);

}  // namespace dinfer::cuda
