#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

Stream Stream::on(cudaStream_t handle) {
  const auto attribute = [](cudaDeviceAttr name) {
    int device = 0, value = 0;
    require(cudaGetDevice(&device), "cudaGetDevice");
    require(cudaDeviceGetAttribute(&value, name, device), "cudaDeviceGetAttribute");
    return value;
  };
  return {.handle = handle,
          .multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
          .capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                        attribute(cudaDevAttrComputeCapabilityMinor),
          .shared_memory = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin)};
}

}  // namespace dinfer::cuda
