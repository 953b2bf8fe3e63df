#include "kernels/cuda/warpgroup.h"

#include "kernels/cuda/error.h"

namespace dinfer::cuda {
namespace {

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
__device__ int compiled = 1;
#else
__device__ int compiled = 0;
#endif

}  // namespace

bool has_warpgroup_code() {
  int value = 0;
  require(cudaMemcpyFromSymbol(&value, compiled, sizeof value), "cudaMemcpyFromSymbol");
  return value != 0;
}

}  // namespace dinfer::cuda
