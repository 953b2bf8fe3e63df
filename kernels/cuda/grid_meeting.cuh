#pragma once

namespace dinfer::cuda {

// Until all blocks have come here, with the first `threads` threads of each. They run at the same
// time: there are no more than fit. `counters`: two of them, zero before and after.
__device__ inline void meet_all_blocks(unsigned* counters, int threads) {
  const auto meet_threads = [&] { asm volatile("bar.sync 0, %0;" ::"r"(threads) : "memory"); };
  meet_threads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(&counters[0], 1u);
    unsigned arrived = 0;
    while (arrived < gridDim.x) {
      asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(&counters[0]));
    }
    if (atomicAdd(&counters[1], 1u) == gridDim.x - 1) counters[0] = counters[1] = 0;
  }
  meet_threads();
}

}  // namespace dinfer::cuda
