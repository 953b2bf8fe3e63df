#pragma once

#include <source_location>

#include <cuda_runtime_api.h>

namespace dinfer::cuda {

// Ends with exit code 6, or 5 where memory is short, unless `status` is success: names the call,
// the current device, what CUDA says, and what to do. `call` is the function's name.
void require(cudaError_t status, const char* call,
             std::source_location at = std::source_location::current());

}  // namespace dinfer::cuda
