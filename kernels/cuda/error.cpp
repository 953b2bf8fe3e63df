#include "kernels/cuda/error.h"

#include "base/error.h"

namespace dinfer::cuda {

void require(cudaError_t status, const char* call, std::source_location at) {
  if (status == cudaSuccess) return;
  int device = -1;
  cudaGetDevice(&device);
  const bool full = status == cudaErrorMemoryAllocation;
  const char* fix = full
                        ? "free memory on this GPU, use more GPUs or a smaller --kv-memory-fraction"
                        : "look for Xid errors in `dmesg` and see `nvidia-smi`; if it comes back, "
                          "report it with the log";
  fail(full ? ExitCode::does_not_fit : ExitCode::device,
       "{} on CUDA device {} failed: {} ({}), at {}:{}; {}", call, device,
       cudaGetErrorString(status), cudaGetErrorName(status), at.file_name(), at.line(), fix);
}

}  // namespace dinfer::cuda
