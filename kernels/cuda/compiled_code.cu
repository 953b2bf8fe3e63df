#include "kernels/cuda/compiled_code.h"

#include "kernels/cuda/error.h"

namespace dinfer::cuda {
namespace {

#ifdef __CUDA_ARCH__
__device__ int capability = __CUDA_ARCH__ / 10;
#else
__device__ int capability;
#endif

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ int warpgroups = 1;
#else
__device__ int warpgroups = 0;
#endif

int value_of(const int& symbol) {
  int value = 0;
  require(cudaMemcpyFromSymbol(&value, symbol, sizeof value), "cudaMemcpyFromSymbol");
  return value;
}

}  // namespace

CompiledCode compiled_code() {
  return {.capability = value_of(capability), .warpgroups = value_of(warpgroups) != 0};
}

}  // namespace dinfer::cuda
