#include "kernels/cuda/error.h"

#include "base/error.h"

namespace dinfer::cuda {

void require(cudaError_t status, const char* call, std::source_location at) {
  if (status == cudaSuccess) return;
  int device = -1;
  cudaGetDevice(&device);
  const char* fix = status == cudaErrorMemoryAllocation
                        ? "free memory on this GPU, or use more GPUs"
                        : "look for Xid errors in `dmesg` and see `nvidia-smi`; if it comes back, "
                          "report it with the log";
  fail(ExitCode::device, "{} on CUDA device {} failed: {} ({}), at {}:{}; {}", call, device,
       cudaGetErrorString(status), cudaGetErrorName(status), at.file_name(), at.line(), fix);
}

}  // namespace dinfer::cuda
