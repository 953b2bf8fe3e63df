#pragma once

#include <string_view>

#include <cuda_runtime.h>

namespace dinfer {

// Throws Error(device), or Error(does_not_fit) where memory is short, naming the call, the current
// device and a fix when a function of the CUDA runtime reports an error.
void check_cuda(cudaError_t result, std::string_view call);

}  // namespace dinfer
