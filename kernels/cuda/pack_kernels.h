#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

// The arrays of a GroupedMatrix (quant/matrix.h) in device memory.
struct RawGroups {
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* minimums = nullptr;  // where not symmetric
};

void pack_groups(const Stream& stream, const RawGroups& from, const PackedMatrix& to);

}  // namespace dinfer::cuda
