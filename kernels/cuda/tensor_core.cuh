#pragma once

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

namespace dinfer::cuda {

// d += a * b^T for 16 x 16 of a, 8 x 16 of b. With lane = 4 g + t: a0, a1 are rows g, g + 8 in
// columns 2t, 2t + 1, a2, a3 the same rows in columns 2t + 8, 2t + 9; b0, b1 are row g of b in
// those columns; d0, d1 row g, columns 2t, 2t + 1; d2, d3 row g + 8.
__device__ inline void multiply_f16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                    uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The same for 16 x 8 of a, 8 x 8 of b: a0, a1 are columns 2t, 2t + 1.
__device__ inline void multiply_f16_short(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t b0) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(b0));
}

__device__ inline void multiply_bf16(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                     uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

__device__ inline uint32_t bits_of(__half2 pair) { return *reinterpret_cast<uint32_t*>(&pair); }
__device__ inline uint32_t bits_of(__nv_bfloat162 pair) {
  return *reinterpret_cast<uint32_t*>(&pair);
}

// 16 bytes from global to shared memory; or zeros, and nothing is read, where `bytes` is 0, not 16.
__device__ inline void copy_async(uint32_t shared, const void* global, int bytes) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(shared), "l"(global),
               "r"(bytes)
               : "memory");
}

__device__ inline void copy_async(uint32_t shared, const void* global) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16;" ::"r"(shared), "l"(global)
               : "memory");
}

__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until all but the latest `kPending` groups of this thread's copies have arrived.
template <int kPending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

__device__ inline uint4 load_shared(uint32_t address) {
  uint4 v;
  asm volatile("ld.shared.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "r"(address));
  return v;
}

__device__ inline uint2 load_shared_pair(uint32_t address) {
  uint2 v;
  asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];" : "=r"(v.x), "=r"(v.y) : "r"(address));
  return v;
}

// `threads` threads of a block arrive or wait on barrier kFirst + (0 or 1). Numbers in the code,
// for else a block takes all 16.
template <int kFirst>
__device__ inline void arrive_barrier(int second, int threads) {
  if (second == 0) {
    asm volatile("bar.arrive %0, %1;" ::"n"(kFirst), "r"(threads) : "memory");
  } else {
    asm volatile("bar.arrive %0, %1;" ::"n"(kFirst + 1), "r"(threads) : "memory");
  }
}

template <int kFirst>
__device__ inline void wait_barrier(int second, int threads) {
  if (second == 0) {
    asm volatile("bar.sync %0, %1;" ::"n"(kFirst), "r"(threads) : "memory");
  } else {
    asm volatile("bar.sync %0, %1;" ::"n"(kFirst + 1), "r"(threads) : "memory");
  }
}

}  // namespace dinfer::cuda
