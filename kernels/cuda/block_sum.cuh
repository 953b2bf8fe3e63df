#pragma once

namespace dinfer::cuda {

// The sum over a block of kThreads threads, in all of them. To be called once in a kernel.
template <int kThreads>
__device__ float block_sum(float value) {
  __shared__ float of_warp[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (float part : of_warp) sum += part;
  return sum;
}

}  // namespace dinfer::cuda
