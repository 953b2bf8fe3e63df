#pragma once

#include <cstdint>

#include <cuda_fp16.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/tensor_core.cuh"

// What the attention kernels share: f16 tiles in shared memory, tensor-core products of 16 x 8 x 16
// on them, and the preparation of one head of one token by one warp.
namespace dinfer::cuda {

constexpr float kLog2E = 1.4426950408889634f;

// Where the 16-byte piece `piece` of row `row` lies in a tile of rows of kDim f16: pieces of a row
// change places so that the same piece of eight rows lies in eight different groups of banks.
template <int kDim>
__device__ inline int tile_offset(int row, int piece) {
  return row * kDim * 2 + ((piece ^ (row & 7)) * 16);
}

template <int kDim>
__device__ inline void tile_store(std::byte* tile, int row, int column, float value) {
  const float bounded = fminf(fmaxf(value, -65504.0f), 65504.0f);
  *reinterpret_cast<__half*>(tile + tile_offset<kDim>(row, column / 8) + column % 8 * 2) =
      __float2half_rn(bounded);
}

// 16 bytes to shared memory; zeros where not `valid`.
__device__ inline void copy_async(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(valid ? 16 : 0));
}
__device__ inline void copy_async_commit() { asm volatile("cp.async.commit_group;"); }
template <int kPending>
__device__ inline void copy_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

struct Fragments4 {
  uint32_t r[4];
};

__device__ inline Fragments4 load_matrices(const std::byte* at) {
  Fragments4 f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(f.r[0]), "=r"(f.r[1]), "=r"(f.r[2]), "=r"(f.r[3])
               : "r"(shared_address(at)));
  return f;
}

__device__ inline Fragments4 load_matrices_transposed(const std::byte* at) {
  Fragments4 f;
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(f.r[0]), "=r"(f.r[1]), "=r"(f.r[2]), "=r"(f.r[3])
               : "r"(shared_address(at)));
  return f;
}

// Rows [0, 16) x columns [16 step, 16 step + 16) of a tile as the left operand.
template <int kDim>
__device__ inline Fragments4 load_left(const std::byte* tile, int step, int lane) {
  return load_matrices(tile + tile_offset<kDim>(lane & 15, step * 2 + (lane >> 4)));
}

// Sixteen rows of keys x columns of a step: the right operand {r0, r1} of the first eight, {r2, r3}
// of the others.
template <int kDim>
__device__ inline Fragments4 load_keys(const std::byte* tile, int first_row, int step, int lane) {
  const int row = first_row + (lane >> 4) * 8 + (lane & 7);
  return load_matrices(tile + tile_offset<kDim>(row, step * 2 + ((lane >> 3) & 1)));
}

// Sixteen rows of values x columns [16 step, 16 step + 16): {r0, r1} of the first eight columns,
// {r2, r3} of the others.
template <int kDim>
__device__ inline Fragments4 load_values(const std::byte* tile, int first_row, int step, int lane) {
  const int row = first_row + ((lane >> 3) & 1) * 8 + (lane & 7);
  return load_matrices_transposed(tile + tile_offset<kDim>(row, step * 2 + (lane >> 4)));
}

// sum += left * right, 16 x 8, over 16.
__device__ inline void multiply_tile(float (&sum)[4], const Fragments4& left, uint32_t right0,
                                     uint32_t right1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(left.r[0]), "r"(left.r[1]), "r"(left.r[2]), "r"(left.r[3]), "r"(right0), "r"(right1));
}

__device__ inline uint32_t pack_halves(float low, float high) {
  const __half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ inline float warp_sum(float value) {
  for (int distance = 16; distance > 0; distance /= 2)
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}
// Over the four lanes that hold one row of a sum.
__device__ inline float quad_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}
__device__ inline float quad_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// One head of one token, by one warp: normed where there is a `norm`, rotated, times `factor`;
// store(column, value) gets each value once.
template <class Store>
__device__ inline void prepare_head(const Attention& a, const float* in, const float* norm,
                                    const Rotation& rotation, int position, float factor, int lane,
                                    const Store& store) {
  if (norm) {
    float squares = 0.0f;
    for (int i = lane; i < a.head_dim; i += 32) squares += in[i] * in[i];
    factor *= rsqrtf(warp_sum(squares) / static_cast<float>(a.head_dim) + a.epsilon);
  }
  const auto value = [&](int i) { return in[i] * factor * (norm ? norm[i] : 1.0f); };
  const float* cosine = rotation.cosine + static_cast<int64_t>(position) * a.half;
  const float* sine = rotation.sine + static_cast<int64_t>(position) * a.half;
  for (int i = lane; i < a.half; i += 32) {
    const float x = value(i), y = value(i + a.half), c = cosine[i], s = sine[i];
    store(i, x * c - y * s);
    store(i + a.half, y * c + x * s);
  }
  for (int i = 2 * a.half + lane; i < a.head_dim; i += 32) store(i, value(i));
}

// Element 0 of what the cache holds of one token for one KV head.
__device__ inline int64_t cached(const Attention& a, const int32_t* table, int kv_head,
                                 int position) {
  const int64_t block = table[position / a.block_size];
  return ((block * a.kv_heads + kv_head) * a.block_size + position % a.block_size) * a.head_dim;
}

}  // namespace dinfer::cuda
