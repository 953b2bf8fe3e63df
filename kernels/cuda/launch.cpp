#include "kernels/cuda/launch.h"

#include "base/error.h"
#include "kernels/cuda/compiled_code.h"

namespace dinfer::cuda {

Stream Stream::on(cudaStream_t handle) {
  const auto attribute = [](cudaDeviceAttr name) {
    int device = 0, value = 0;
    require(cudaGetDevice(&device), "cudaGetDevice");
    require(cudaDeviceGetAttribute(&value, name, device), "cudaDeviceGetAttribute");
    return value;
  };
  const CompiledCode code = compiled_code();
  return {.handle = handle,
          .multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
          .capability = code.capability,
          .shared_memory = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          .warpgroups = code.warpgroups};
}

void require_shared_memory(const Stream& stream, size_t shared_bytes) {
  if (shared_bytes <= static_cast<size_t>(stream.shared_memory)) return;
  fail(
      ExitCode::device,
      "a kernel for a model of this shape needs {} bytes of shared memory a block, the GPU has {}: "
      "run on another GPU, with more ranks, or with --cpu",
      shared_bytes, stream.shared_memory);
}

}  // namespace dinfer::cuda
