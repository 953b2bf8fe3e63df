#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// Bytes a second at which the device reads `bytes` of memory, several times the size of its caches:
// the ceiling of everything that reads weights. Median of some passes; waits for the stream.
double measure_read_bandwidth(const Stream& stream, const std::byte* memory, size_t bytes);

}  // namespace dinfer::cuda
