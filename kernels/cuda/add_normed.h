#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// out[i] += rms_norm(in[i]) * norm, `count` rows of `columns`.
void add_normed(const Stream& stream, const float* in, const float* norm, float epsilon,
                int64_t count, int64_t columns, float* out);

}  // namespace dinfer::cuda
