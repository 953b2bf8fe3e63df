#pragma once

#include <cstdint>

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/tensor_core.cuh"

// What the attention kernels share: tiles in shared memory, tensor-core products of 16 x 8 x 16 on
// them, and the preparation of one head of one token by one warp.
namespace dinfer::cuda {

constexpr float kLog2E = 1.4426950408889634f;

// Numbers of the cache are __half, or f8 as these bytes.
using F8 = __nv_fp8_storage_t;

template <class T>
__device__ inline T to_cache(float value) {
  if constexpr (sizeof(T) == 1) {
    const float bounded = fminf(fmaxf(value, -kMostF8), kMostF8);
    return __nv_cvt_float_to_fp8(bounded, __NV_SATFINITE, __NV_E4M3);
  } else {
    return __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
  }
}

// Tiles of rows of kDim numbers in shared memory.
template <class T, int kDim>
struct TileRow {
  static constexpr int kBytes = kDim * static_cast<int>(sizeof(T));
  static constexpr int kPieces = kBytes / 16;
  static constexpr int kPerPiece = kDim / kPieces;  // numbers
};

// Where the 16-byte piece `piece` of row `row` lies: pieces of a row change places so that the same
// piece of eight rows lies in eight different groups of banks.
template <class T, int kDim>
__device__ inline int tile_offset(int row, int piece) {
  constexpr int kBytes = TileRow<T, kDim>::kBytes;
  const int turn = kBytes == 64 ? row / 2 % 4 : row % 8;
  return row * kBytes + (piece ^ turn) * 16;
}

template <class T, int kDim>
__device__ inline void tile_store(std::byte* tile, int row, int column, float value) {
  constexpr int kPerPiece = TileRow<T, kDim>::kPerPiece;
  std::byte* piece = tile + tile_offset<T, kDim>(row, column / kPerPiece);
  reinterpret_cast<T*>(piece)[column % kPerPiece] = to_cache<T>(value);
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

// Rows [0, 16) x columns [16 step, 16 step + 16) of a tile of queries as the left operand.
template <int kDim>
__device__ inline Fragments4 load_left(const std::byte* tile, int step, int lane) {
  return load_matrices(tile + tile_offset<__half, kDim>(lane & 15, step * 2 + (lane >> 4)));
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

// Number 0 of what the cache holds of one token for one KV head.
__device__ inline int64_t cached(const Attention& a, const int32_t* table, int kv_head,
                                 int position) {
  const int64_t block = table[position / a.block_size];
  return ((block * a.kv_heads + kv_head) * a.block_size + position % a.block_size) * a.head_dim;
}

// Heads as kernels know them: filled up with zeros to one of few sizes.
constexpr int padded_head_dim(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

// run.operator()<T, kDim>() with the type of the cache and the padded size of heads.
template <class Run>
void for_heads(const Attention& a, const Run& run) {
  const auto of_type = [&]<class T>() {
    switch (padded_head_dim(a.head_dim)) {
      case 64:
        return run.template operator()<T, 64>();
      case 128:
        return run.template operator()<T, 128>();
      default:
        return run.template operator()<T, 256>();
    }
  };
  if (a.type == KvType::f8) return of_type.template operator()<F8>();
  of_type.template operator()<__half>();
}

}  // namespace dinfer::cuda
