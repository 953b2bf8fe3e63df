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

// How many input rows at a time, and how they lie in the 8 rows of the tensor cores' operand: one
// has its high and its low pieces in one operand, as rows 0 and 4; up to 8, in two operands; up to
// 16, in two pairs.
template <int kRows>
struct Batch {
  static constexpr int kOperands = kRows == 1 ? 1 : kRows / 4;
  static constexpr int kSums = kRows == 16 ? 2 : 1;  // accumulators
  static constexpr int kColumns = 8 * kSums;         // of the accumulators
  static constexpr int kOutputQuads = kRows == 1 ? 1 : kRows / 4;
  static constexpr int kSteps = kDecodeColumns(kRows) / 16;
  static constexpr int kWidth = 16 * kSteps;
  static constexpr int kLaneColumns = kWidth / 32;  // consecutive ones that a lane prepares
};

// A warp's sums of one item: of products with the codes or numbers of the matrix, and, where it is
// grouped, of products with the minimums.
template <int kRows>
struct Sums {
  float values[Batch<kRows>::kSums][4] = {};
  float minimums[Batch<kRows>::kSums][4] = {};
};

// A warp's part of the inputs, as operands in registers.
template <class Form>
class Inputs {
 public:
  static constexpr int kRows = Form::kRows;
  using B = Batch<kRows>;
  using Pieces = typename Form::Pieces;

  // Sums of inputs, as pieces, are this many times them, so that f16 holds them.
  static constexpr float kSumUnit = 1.0f / 16384;

  // Where a warp prepares a row; and where its sums go: [groups][kColumns], for grouped forms.
  struct Memory {
    uint32_t* high;  // [kWidth / 2]
    uint32_t* low;
    float* sums;
    float sum_factor;
    float* squares;  // one row's sum of squares, of the warp's columns
  };

  // Loads columns [begin, begin + columns) of the rows.
  __device__ void load(const Rows& rows, int begin, int columns, const Memory& memory) {
    if constexpr (kRows > kFusedRows) {
#pragma unroll
      for (int s = 0; s < B::kSums; ++s) load_own_row(rows, s, begin, columns, memory);
    } else {
      load_one_row(rows, begin, columns, memory);
    }
    if constexpr (Form::kSumPieces) load_sums(memory.sums);
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

  // sums += a * sums of inputs, for the up to 8 groups of a stage.
  __device__ void multiply_sums(int stage, float (&sums)[B::kSums][4], uint32_t a0,
                                uint32_t a1) const {
#pragma unroll
    for (int o = 0; o < kSumOperands; ++o) {
      multiply_f16_short(sums[kRows == 16 ? o / 2 : 0], a0, a1, sum_pieces_[stage][o]);
    }
  }

  // Products of input row column 2t + i, from its sums.
  __device__ float product(const Sums<kRows>& sums, int s, int i) const {
    constexpr float kMinimumUnit =
        Form::kSumPieces ? 1.0f / (kSumUnit * Form::kCodeUnit) : 1.0f / Form::kCodeUnit;
    const float value = sums.values[s][i];
    return (Form::kGrouped ? value + kMinimumUnit * sums.minimums[s][i] : value) *
           factor_[s][i % 2];
  }

 private:
  static constexpr int kQuads = B::kLaneColumns / 4;
  static constexpr int kStages = B::kWidth / Form::kStageColumns;
  static constexpr int kStageGroups = Form::kStageColumns / (16 * Form::kGroupSteps);
  static constexpr int kSumOperands = B::kOperands;

  // Sums of the groups 2t, 2t + 1 of each stage for input row g, as the B operand: of one row,
  // high pieces are in its first 4 columns, low ones in the others.
  __device__ void load_sums(const float* sums) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
    for (int stage = 0; stage < kStages; ++stage) {
#pragma unroll
      for (int s = 0; s < B::kSums; ++s) {
        const auto sum = [&](int group) {
          if (group >= kStageGroups) return 0.0f;
          const float* of_group = sums + (stage * kStageGroups + group) * B::kColumns;
          const float all =
              kRows == 1 ? of_group[g % 4] + of_group[g % 4 + 4] : of_group[8 * s + g];
          return all * kSumUnit;
        };
        uint32_t high, low;
        split(sum(2 * t), sum(2 * t + 1), high, low);
        if (kRows == 1) {
          sum_pieces_[stage][0] = g < 4 ? high : low;
        } else {
          sum_pieces_[stage][2 * s] = high;
          sum_pieces_[stage][2 * s + 1] = low;
        }
      }
    }
    __syncwarp();
  }

  // Many rows: each lane takes the columns of row 8 s + g that its operands hold.
  __device__ void load_own_row(const Rows& rows, int s, int begin, int columns,
                               const Memory& memory) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, row = 8 * s + g;
    const bool exists = row < rows.count;
    const float* x = rows.data + (exists ? row : 0) * rows.stride;
    const int all = static_cast<int>(rows.columns);
    const int end = exists ? min(begin + columns, all) : 0;
    float4 v[B::kSteps];
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      const int c = begin + Form::column_of(k);
      v[k] = all % 4 == 0 ? aligned_quad(x, c, end) : any_quad(x, c, end);
    }
    float unit = 1.0f;
    if (Pieces::kNeedsUnit) {
      float largest = 0.0f;
#pragma unroll
      for (int k = 0; k < B::kSteps; ++k) {
        largest = fmaxf(largest, fmaxf(fmaxf(fabsf(v[k].x), fabsf(v[k].y)),
                                       fmaxf(fabsf(v[k].z), fabsf(v[k].w))));
      }
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
      unit = unit_for(fmaxf(largest, __shfl_xor_sync(~0u, largest, 2)));
    }
    const float factor = Form::kCodeUnit / unit;
    factor_[s][0] = __shfl_sync(~0u, factor, 8 * t);
    factor_[s][1] = __shfl_sync(~0u, factor, 8 * t + 4);
    const float upper_unit = unit * Form::kUpperUnit;
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      uint32_t(&high)[2] = pieces_[k][2 * s], (&low)[2] = pieces_[k][2 * s + 1];
      split(v[k].x * unit, v[k].y * unit, high[0], low[0]);
      split(v[k].z * upper_unit, v[k].w * upper_unit, high[1], low[1]);
      if (!Form::kGrouped) continue;
      sum += pair_sum(high[0]) + pair_sum(low[0]) +
             (pair_sum(high[1]) + pair_sum(low[1])) * (1.0f / Form::kUpperUnit);
      if (k % Form::kGroupSteps != Form::kGroupSteps - 1) continue;
      sum += __shfl_xor_sync(~0u, sum, 1);
      sum += __shfl_xor_sync(~0u, sum, 2);
      if (t == 0) {
        memory.sums[k / Form::kGroupSteps * B::kColumns + row] = sum * memory.sum_factor;
      }
      sum = 0.0f;
    }
    __syncwarp();
  }

  // One row: all lanes prepare it, and each then takes its part.
  __device__ void load_one_row(const Rows& rows, int begin, int columns, const Memory& memory) {
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) pieces_[k][0][0] = pieces_[k][0][1] = 0;
    factor_[0][0] = factor_[0][1] = 0.0f;
    if (Form::kGrouped) {
      for (int i = threadIdx.x % 32; i < B::kSteps / Form::kGroupSteps * 8; i += 32) {
        memory.sums[i] = 0.0f;
      }
      __syncwarp();
    }
    float values[B::kLaneColumns];
    read(rows, begin, columns, values, memory);
    place(values, memory);
  }

  __device__ static float4 aligned_quad(const float* x, int c, int end) {
    return c < end ? *reinterpret_cast<const float4*>(x + c) : float4{};
  }

  __device__ static float4 any_quad(const float* x, int c, int end) {
    const auto one = [&](int i) { return i < end ? x[i] : 0.0f; };
    return {one(c), one(c + 1), one(c + 2), one(c + 3)};
  }

  // Columns c .. c + 3 of `columns`; zeros past them.
  __device__ static float4 quad(const float* x, int c, int columns) {
    return columns % 4 == 0 ? aligned_quad(x, c, columns) : any_quad(x, c, columns);
  }

  // The lane's columns of a row, with what is to be done to them done, but for the factor 1 / rms;
  // and the squares that this takes.
  __device__ static void read(const Rows& rows, int begin, int columns,
                              float (&values)[B::kLaneColumns], const Memory& memory) {
    const int lane = threadIdx.x % 32, all = static_cast<int>(rows.columns);
    const int column = B::kLaneColumns * lane < columns ? begin + B::kLaneColumns * lane : all;
    const float* from = rows.data;
    const float* other = rows.kind == Rows::Kind::normed ? rows.norm : from + all;
    float4 x[kQuads], y[kQuads];
#pragma unroll
    for (int q = 0; q < kQuads; ++q) x[q] = quad(from, column + 4 * q, all);
    if (rows.kind != Rows::Kind::plain) {
#pragma unroll
      for (int q = 0; q < kQuads; ++q) y[q] = quad(other, column + 4 * q, all);
    }
    float squares = 0.0f;
#pragma unroll
    for (int q = 0; q < kQuads; ++q) {
      float* v = values + 4 * q;
      const float4 a = x[q], b = y[q];
      if (rows.kind == Rows::Kind::plain) {
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
      } else if (rows.kind == Rows::Kind::normed) {
        squares += a.x * a.x + a.y * a.y + a.z * a.z + a.w * a.w;
        v[0] = a.x * b.x, v[1] = a.y * b.y, v[2] = a.z * b.z, v[3] = a.w * b.w;
      } else {
        v[0] = activate(rows.activation, a.x) * b.x, v[1] = activate(rows.activation, a.y) * b.y;
        v[2] = activate(rows.activation, a.z) * b.z, v[3] = activate(rows.activation, a.w) * b.w;
      }
    }
    if (rows.kind != Rows::Kind::normed) return;
    for (int step = 16; step > 0; step /= 2) squares += __shfl_xor_sync(~0u, squares, step);
    if (lane == 0) *memory.squares = squares;
  }

  // A power of two that brings a number below 2^15, and near it.
  __device__ static float unit_for(float largest) {
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
    return __uint_as_float(static_cast<uint32_t>(min(max(14 - exponent, -100), 100) + 127) << 23);
  }

  __device__ static float unit_of(const float (&values)[B::kLaneColumns]) {
    float largest = 0.0f;
#pragma unroll
    for (int i = 0; i < B::kLaneColumns; ++i) largest = fmaxf(largest, fabsf(values[i]));
    for (int step = 16; step > 0; step /= 2) {
      largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, step));
    }
    return unit_for(largest);
  }

  // Makes the operand's rows 0 and 4 of the lanes' values: high pieces and low ones.
  __device__ void place(const float (&values)[B::kLaneColumns], const Memory& memory) {
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
    if (Form::kGrouped) store_sums(high_sum, low_sum, memory);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      if ((2 * t + i) % 4 == 0) factor_[0][i] = Form::kCodeUnit / unit;
    }
    __syncwarp();
    if (g % 4 == 0) {
      const uint32_t* from = g < 4 ? memory.high : memory.low;
#pragma unroll
      for (int k = 0; k < B::kSteps; ++k) {
        const uint2 piece = *reinterpret_cast<const uint2*>(from + Form::column_of(k) / 2);
        pieces_[k][0][0] = piece.x;
        pieces_[k][0][1] = piece.y;
      }
    }
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

  // Sums of the pieces by groups, times memory.sum_factor.
  __device__ static void store_sums(float high, float low, const Memory& memory) {
    constexpr int kLanes = 16 * Form::kGroupSteps / B::kLaneColumns;  // of a group
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 1; step < kLanes; step *= 2) {
      high += __shfl_xor_sync(~0u, high, step);
      low += __shfl_xor_sync(~0u, low, step);
    }
    if (lane % kLanes != 0) return;
    float* to = memory.sums + lane / kLanes * B::kColumns;
    to[0] = high * memory.sum_factor;
    to[4] = low * memory.sum_factor;
  }

  uint32_t pieces_[B::kSteps][B::kOperands][2];
  uint32_t sum_pieces_[kStages][kSumOperands];  // where the form takes them
  float factor_[B::kSums][2];
};

}  // namespace dinfer::cuda
