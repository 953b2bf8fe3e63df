#include "device/gpu_check.h"

#include "base/error.h"

namespace dinfer {
namespace {

std::string_view fix_of(cudaError_t result) {
  switch (result) {
    case cudaErrorMemoryAllocation:
      return "another process holds the GPU's memory (nvidia-smi lists them), or "
             "--kv-memory-fraction is too large";
    case cudaErrorInsufficientDriver:
      return "install a newer NVIDIA driver, or run with --cpu";
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice:
      return "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or run with --cpu";
    case cudaErrorDevicesUnavailable:
      return "another process has the GPU for itself (nvidia-smi -q -d COMPUTE tells the mode): "
             "end "
             "it, or name other GPUs in CUDA_VISIBLE_DEVICES";
    case cudaErrorNoKernelImageForDevice:
      return "this binary has no code for the GPU: build it with CMAKE_CUDA_ARCHITECTURES=native";
    case cudaErrorECCUncorrectable:
    case cudaErrorHardwareStackError:
    case cudaErrorNvlinkUncorrectable:
      return "the GPU reports a hardware fault: see `nvidia-smi -q` and `dmesg`";
    default:
      return "see `nvidia-smi` and the kernel's log (dmesg) for the state of the GPU";
  }
}

}  // namespace

void check_cuda(cudaError_t result, std::string_view call) {
  if (result == cudaSuccess) return;
  cudaGetLastError();  // an error that can be got over is not reported again by the next call
  int ordinal = 0;
  cudaGetDevice(&ordinal);
  fail(result == cudaErrorMemoryAllocation ? ExitCode::does_not_fit : ExitCode::device,
       "{} on cuda:{} failed: {} ({}): {}", call, ordinal, cudaGetErrorString(result),
       cudaGetErrorName(result), fix_of(result));
}

}  // namespace dinfer
