#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/matmul_decode.h"
#include "kernels/cuda/tensor_core.cuh"

namespace dinfer::cuda {

// Inputs in 16-bit pieces: value * unit = high + low. bf16 takes numbers of any size; for f16 the
// unit is a power of two that brings the largest of a warp's numbers near 2^15.
struct Bf16Pieces {
  static constexpr bool kNeedsUnit = false;
  __device__ static uint32_t of(float a, float b) { return bits_of(__floats2bfloat162_rn(a, b)); }
  __device__ static float2 value(uint32_t bits) {
    return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162*>(&bits));
  }
  __device__ static void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                  uint32_t b0, uint32_t b1) {
    multiply_bf16(d, a0, a1, a2, a3, b0, b1);
  }
};

struct F16Pieces {
  static constexpr bool kNeedsUnit = true;
  __device__ static uint32_t of(float a, float b) { return bits_of(__floats2half2_rn(a, b)); }
  __device__ static float2 value(uint32_t bits) {
    return __half22float2(*reinterpret_cast<__half2*>(&bits));
  }
  __device__ static void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                  uint32_t b0, uint32_t b1) {
    multiply_f16(d, a0, a1, a2, a3, b0, b1);
  }
};

// How many input rows at a time, and how they lie in the 8 rows of the tensor cores' operand: up to
// 4 have their high and low pieces in one operand; up to 8, in two; up to 16, in two pairs.
template <int kRows>
struct Batch {
  static constexpr int kOperands = kRows / 4;
  static constexpr int kSums = kRows == 16 ? 2 : 1;  // accumulators
  static constexpr int kColumns = 8 * kSums;         // of the accumulators
  static constexpr int kSteps = kDecodeColumns(kRows) / 16;
  static constexpr int kWidth = 16 * kSteps;
  static constexpr int kLaneColumns = kWidth / 32;  // consecutive ones that a lane prepares
};

// A warp's part of the inputs, as operands in registers.
template <class Form, int kRows>
class Inputs {
 public:
  using B = Batch<kRows>;
  using Pieces = typename Form::Pieces;

  // Where a warp prepares a row; and where its sums go: [groups][kColumns], for grouped forms.
  struct Memory {
    uint32_t* high;  // [kWidth / 2]
    uint32_t* low;
    float* sums;
    float sum_factor;
    float* squares;  // [rows, stride]: of the warp's columns
    int squares_stride;
  };

  // Loads columns [begin, begin + columns) of the rows.
  __device__ void load(const Rows& rows, int begin, int columns, const Memory& memory) {
    clear();
    const int count = static_cast<int>(rows.count);
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      factor_[s][0] = factor_[s][1] = 0.0f;
      clear_sums(memory, s);
#pragma unroll 1
      for (int first = 8 * s; first < min(count, 8 * s + 8); first += kAtOnce) {
        float values[kAtOnce][B::kLaneColumns];
        read(rows, first, begin, columns, values, memory);
#pragma unroll
        for (int i = 0; i < kAtOnce; ++i) {
          if (first + i < count) place_row(first + i - 8 * s, s, values[i], memory);
        }
      }
    }
  }

  // sums += a * inputs, in step `k` of 16 columns; a compile-time number after unrolling.
  __device__ void multiply(int k, float (&sums)[B::kSums][4], uint32_t a0, uint32_t a1, uint32_t a2,
                           uint32_t a3) const {
#pragma unroll
    for (int o = 0; o < B::kOperands; ++o) {
      Pieces::multiply(sums[kRows == 16 ? o / 2 : 0], a0, a1, a2, a3, pieces_[k][o][0],
                       pieces_[k][o][1]);
    }
  }

  // What sums of column 2t + i are to be multiplied with.
  __device__ float factor(int s, int i) const { return factor_[s][i]; }

 private:
  __device__ void clear() {
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
#pragma unroll
      for (int o = 0; o < B::kOperands; ++o) pieces_[k][o][0] = pieces_[k][o][1] = 0;
    }
  }

  static constexpr bool kAnyKind = kRows <= kFusedRows;
  static constexpr int kQuads = B::kLaneColumns / 4;
  static constexpr int kAtOnce = 8 / kQuads / (kAnyKind ? 2 : 1);  // rows that are loaded together

  // Columns c .. c + 3 of `columns`; zeros past them.
  __device__ static float4 quad(const float* x, int c, int columns) {
    if (columns % 4 == 0) {
      return c < columns ? *reinterpret_cast<const float4*>(x + c) : float4{};
    }
    const auto one = [&](int i) { return i < columns ? x[i] : 0.0f; };
    return {one(c), one(c + 1), one(c + 2), one(c + 3)};
  }

  // The lane's columns of rows first .. first + kAtOnce - 1, with what is to be done to them done,
  // but for the factor 1 / rms; and the squares that this takes.
  __device__ void read(const Rows& rows, int first, int begin, int columns,
                       float (&values)[kAtOnce][B::kLaneColumns], const Memory& memory) {
    const int lane = threadIdx.x % 32, all = static_cast<int>(rows.columns);
    const bool mine = B::kLaneColumns * lane < columns;
    const int column = mine ? begin + B::kLaneColumns * lane : all;
    const int last = static_cast<int>(rows.count) - 1;
    float4 x[kAtOnce][kQuads], y[kAtOnce][kQuads];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float* row = rows.data + min(first + i, last) * rows.stride;
#pragma unroll
      for (int q = 0; q < kQuads; ++q) x[i][q] = quad(row, column + 4 * q, all);
      if (!kAnyKind || rows.kind == Rows::Kind::plain) continue;
      const float* other = rows.kind == Rows::Kind::normed ? rows.norm : row + all;
#pragma unroll
      for (int q = 0; q < kQuads; ++q) y[i][q] = quad(other, column + 4 * q, all);
    }
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      float squares = 0.0f;
#pragma unroll
      for (int q = 0; q < kQuads; ++q) {
        float* v = values[i] + 4 * q;
        const float4 a = x[i][q], b = y[i][q];
        if (!kAnyKind || rows.kind == Rows::Kind::plain) {
          v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        } else if (rows.kind == Rows::Kind::normed) {
          squares += a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
          v[0] = a.x * b.x, v[1] = a.y * b.y, v[2] = a.z * b.z, v[3] = a.w * b.w;
        } else {
          v[0] = activate(rows.activation, a.x) * b.x, v[1] = activate(rows.activation, a.y) * b.y;
          v[2] = activate(rows.activation, a.z) * b.z, v[3] = activate(rows.activation, a.w) * b.w;
        }
      }
      if (!kAnyKind || rows.kind != Rows::Kind::normed || first + i > last) continue;
      for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(~0u, squares, step);
      if (lane == 0) memory.squares[(first + i) * memory.squares_stride] = squares;
    }
  }

  // A power of two, at which the largest value of the warp is below 2^15.
  __device__ static float unit_of(const float (&values)[B::kLaneColumns]) {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < B::kLaneColumns; ++i) largest = fmaxf(largest, fabsf(values[i]));
    for (int step = 16; step > 0; step /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
    }
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
    return __uint_as_float(static_cast<uint32_t>(min(max(14 - exponent, -100), 100) + 127) << 23);
  }

  // Makes the operands' row `r` (of set `s`) of the lane's values.
  __device__ void place_row(int r, int s, const float (&values)[B::kLaneColumns],
                            const Memory& memory) {
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const float unit = Pieces::kNeedsUnit ? unit_of(values) : 1.0f;
    const float upper_unit = unit * Form::kUpperUnit;
    float high_sum = 0.0f, low_sum = 0.0f;
#pragma unroll
    for (int i = 0; i < B::kLaneColumns; i += 4) {
      uint2 high, low;
      split(values[i] * unit, values[i + 1] * unit, high.x, low.x);
      split(values[i + 2] * upper_unit, values[i + 3] * upper_unit, high.y, low.y);
      const int at = B::kLaneColumns * lane + i;
      *reinterpret_cast<uint2*>(memory.high + at / 2) = high;
      *reinterpret_cast<uint2*>(memory.low + at / 2) = low;
      if (!Form::kGrouped) continue;
      high_sum += pair_sum(high.x) + pair_sum(high.y) * (1.0f / Form::kUpperUnit);
      low_sum += pair_sum(low.x) + pair_sum(low.y) * (1.0f / Form::kUpperUnit);
    }
    if (Form::kGrouped) store_sums(r, s, high_sum, low_sum, memory);
    const float factor = Form::kCodeUnit / unit;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if ((kRows == 4 ? (2 * t + i) % 4 : 2 * t + i) == r) factor_[s][i] = factor;
    }
    __syncwarp();
    if ((kRows == 4 ? g % 4 : g) == r) take_operands(s, memory);
    __syncwarp();
  }

  __device__ static void split(float a, float b, uint32_t& high, uint32_t& low) {
    high = Pieces::of(a, b);
    const float2 rounded = Pieces::value(high);
    low = Pieces::of(a - rounded.x, b - rounded.y);
  }

  __device__ static float pair_sum(uint32_t bits) {
    const float2 v = Pieces::value(bits);
    return v.x + v.y;
  }

  __device__ void take_operands(int s, const Memory& memory) {
    const bool is_low = kRows == 4 && threadIdx.x % 32 >= 16;
    const uint32_t* first = is_low ? memory.low : memory.high;
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      const int at = Form::column_of(k) / 2;
      const uint2 a = *reinterpret_cast<const uint2*>(first + at);
      pieces_[k][kRows == 4 ? 0 : 2 * s][0] = a.x;
      pieces_[k][kRows == 4 ? 0 : 2 * s][1] = a.y;
      if constexpr (kRows > 4) {
        const uint2 b = *reinterpret_cast<const uint2*>(memory.low + at);
        pieces_[k][2 * s + 1][0] = b.x;
        pieces_[k][2 * s + 1][1] = b.y;
      }
    }
  }

  __device__ static void clear_sums(const Memory& memory, int s) {
    if (!Form::kGrouped) return;
    const int lane = threadIdx.x % 32;
    for (int i = lane; i < B::kSteps / Form::kGroupSteps * 8; i += 32) {
      memory.sums[i / 8 * B::kColumns + 8 * s + i % 8] = 0.0f;
    }
    __syncwarp();
  }

  // Sums of the pieces by groups, times memory.sum_factor.
  __device__ static void store_sums(int r, int s, float high, float low, const Memory& memory) {
    constexpr int kLanes = 16 * Form::kGroupSteps / B::kLaneColumns;  // of a group
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) {
      high += __shfl_xor_sync(~0u, high, step);
      low += __shfl_xor_sync(~0u, low, step);
    }
    if (lane % kLanes != 0) return;
    float* to = memory.sums + lane / kLanes * B::kColumns + 8 * s + r;
    if (kRows == 4) {
      to[0] = high * memory.sum_factor;
      to[4] = low * memory.sum_factor;
    } else {
      to[0] = (high + low) * memory.sum_factor;
    }
  }

  uint32_t pieces_[B::kSteps][B::kOperands][2];
  float factor_[B::kSums][2];
};

}  // namespace dinfer::cuda
