#pragma once

#include <cstdint>

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// What is done to the rows, in `type`: out [count, stride], columns past rows.columns zero. f16
// saturates. stride is a multiple of 4.
void prepare_rows(const Stream& stream, const Rows& rows, Packing type, void* out, int64_t stride);

}  // namespace dinfer::cuda
