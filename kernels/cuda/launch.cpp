#include "kernels/cuda/launch.h"

#include "kernels/cuda/warpgroup.h"

namespace dinfer::cuda {

Stream Stream::on(cudaStream_t handle) {
  const auto attribute = [](cudaDeviceAttr name) {
    int device = 0, value = 0;
    require(cudaGetDevice(&device), "cudaGetDevice");
    require(cudaDeviceGetAttribute(&value, name, device), "cudaDeviceGetAttribute");
    return value;
  };
  const int capability = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                         attribute(cudaDevAttrComputeCapabilityMinor);
  return {.handle = handle,
          .multiprocessors = attribute(cudaDevAttrMultiProcessorCount),
          .capability = capability,
          .shared_memory = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          .warpgroups = capability == 90 && has_warpgroup_code()};
}

}  // namespace dinfer::cuda
