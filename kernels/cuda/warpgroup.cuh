#pragma once

#include <cstdint>

#include "kernels/cuda/tensor_core.cuh"
#include "kernels/cuda/tensor_map.h"

// What sm_90a has for kernels in which one warp brings data to shared memory and groups of four
// warps multiply it: barriers that count bytes, copies in bulk, and products of warpgroups
// (warpgroup_products.cuh).
namespace dinfer::cuda {

constexpr int kWarpgroup = 128;  // threads

// A barrier in shared memory, of 8 bytes at `barrier`. Its phases are told apart by their parity.
__device__ inline void init_barrier(uint32_t barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

// Makes barriers that were initialised known to copies. A __syncthreads() is to follow.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ inline void arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and lets the phase last until so many bytes have been copied too.
__device__ inline void arrive_and_expect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes)
               : "memory");
}

// Arrives when this thread's copies so far (copy_async()) have.
__device__ inline void arrive_when_copied(uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Until the phase of this parity is over.
__device__ inline void wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}\n" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// A ring of stages with a barrier each for "full" and for "empty": where a reader or a writer is.
struct RingPlace {
  uint32_t slot = 0, parity = 0;

  __device__ void advance(uint32_t slots) {
    if (++slot == slots) slot = 0, parity ^= 1;
  }
};

// `bytes`, a multiple of 16, to shared memory; `barrier` counts them.
__device__ inline void copy_bulk(uint32_t shared, const void* global, uint32_t bytes,
                                 uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}

// A box of a tensor map (tensor_map.h), from this column and row on.
__device__ inline void copy_box(uint32_t shared, const TensorMap& map, int column, int row,
                                uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, "
      "{%2, %3}], [%4];" ::"r"(shared),
      "l"(reinterpret_cast<uint64_t>(&map)), "r"(column), "r"(row), "r"(barrier)
      : "memory");
}

// Before products whose registers others have written.
__device__ inline void fence_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// Until all but the latest `kPending` groups of products are done.
template <int kPending>
__device__ inline void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Registers a thread of this warpgroup has from here on; the kernel's others have what that leaves.
template <int kRegisters>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// Makes what this thread wrote to shared memory known to copies and products.
__device__ inline void publish_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Makes what others wrote to global memory, and this thread may read, known to its copies.
__device__ inline void publish_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

}  // namespace dinfer::cuda
