#pragma once

#include <cstddef>
#include <type_traits>

#include <cuda_runtime.h>

#include "kernels/cuda/error.h"

namespace dinfer::cuda {

// Headers that nvcc reads include no fmt (base/error.h, base/dtype.h): its front end cannot.

// Of a block: what every GPU has that kernels run on (8.6, 8.9 and 12.0 have no more).
constexpr int kLeastSharedMemory = 99 << 10;

// The compute stream of a device, and what launching on it depends on.
struct Stream {
  cudaStream_t handle = nullptr;
  int multiprocessors = 0;
  int capability = 0;       // 90: the code that runs there was compiled for 9.0
  int shared_memory = 0;    // bytes, the most that a block can have
  bool warpgroups = false;  // there is code for warpgroups' products (warpgroup.cuh)

  // Bytes that each of so many blocks can have which share a multiprocessor. The system keeps 1 KiB
  // of each.
  int shared_memory_for(int blocks) const { return (shared_memory + 1024) / blocks - 1024; }

  // Of the current device.
  static Stream on(cudaStream_t handle);
};

// Programmatic dependent launch. Every kernel of ours starts while its predecessor still runs, so
// every kernel (a) calls wait_for_predecessor() before it touches memory that another kernel writes
// or reads, except for weights, and (b) calls let_successor_start() once all its blocks may share
// the device with the next kernel's, best at once.
#ifdef __CUDACC__
__device__ inline void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline void let_successor_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
#endif

// Lets blocks of the kernel have so much shared memory.
template <class... Parameters>
void allow_shared_memory(void (*kernel)(Parameters...), size_t shared_bytes) {
  const auto* function = reinterpret_cast<const void*>(kernel);
  require(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(shared_bytes)),
          "cudaFuncSetAttribute");
  // One split of L1 and shared memory for all: a multiprocessor must be idle to change it.
  require(cudaFuncSetAttribute(function, cudaFuncAttributePreferredSharedMemoryCarveout,
                               cudaSharedmemCarveoutMaxShared),
          "cudaFuncSetAttribute");
}

// Ends with exit code 6 where a block cannot have so much.
void require_shared_memory(const Stream& stream, size_t shared_bytes);

// Launches a kernel that follows the rules above, in clusters of so many blocks along x (1: none).
template <class... Parameters, class... Arguments>
void launch_clusters(const Stream& stream, void (*kernel)(Parameters...), dim3 grid,
                     unsigned cluster, dim3 block, size_t shared_bytes, Arguments&&... arguments) {
  require_shared_memory(stream, shared_bytes);
  allow_shared_memory(kernel, shared_bytes);
  cudaLaunchAttribute attributes[2]{};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream.handle;
  config.attrs = attributes;
  config.numAttrs = stream.capability < 90 ? 0 : cluster > 1 ? 2 : 1;
  require(cudaLaunchKernelEx(&config, kernel,
                             static_cast<Parameters>(std::forward<Arguments>(arguments))...),
          "cudaLaunchKernelEx");
}

template <class... Parameters, class... Arguments>
void launch(const Stream& stream, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared_bytes, Arguments&&... arguments) {
  launch_clusters(stream, kernel, grid, 1, block, shared_bytes,
                  std::forward<Arguments>(arguments)...);
}

}  // namespace dinfer::cuda
