#pragma once

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/matmul_decode.h"
#include "kernels/cuda/tensor_core.cuh"

namespace dinfer::cuda {

struct DecodeTask {
  PackedMatrix weight;
  Rows rows;
  Products out;
  DecodePlan plan;
  DecodeWorkspace workspace;
};

// Inputs in 16-bit pieces: value * unit = high + low. bf16 takes numbers of any size; for f16 the
// unit is a power of two that brings a warp's largest number near 2^15.
struct Bf16Pieces {
  static constexpr bool kNeedsUnit = false;
  __device__ static uint32_t high(float a, float b) { return bits_of(__floats2bfloat162_rn(a, b)); }
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
  __device__ static uint32_t high(float a, float b) { return bits_of(__floats2half2_rn(a, b)); }
  __device__ static float2 value(uint32_t bits) {
    return __half22float2(*reinterpret_cast<__half2*>(&bits));
  }
  __device__ static void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                  uint32_t b0, uint32_t b1) {
    multiply_f16(d, a0, a1, a2, a3, b0, b1);
  }
};

// What is left of (a, b) after `pieces`.
template <class Pieces>
__device__ inline uint32_t low_of(float a, float b, uint32_t pieces) {
  const float2 v = Pieces::value(pieces);
  return Pieces::high(a - v.x, b - v.y);
}

// How many inputs at a time, and how they lie in the operand's 8 rows: up to 4 rows have their high
// and low pieces in one operand; up to 8, in two; up to 16, in two pairs.
template <int kRows>
struct Batch {
  static constexpr int kOperands = kRows / 4;
  static constexpr int kSums = kRows == 16 ? 2 : 1;    // accumulators
  static constexpr int kColumns = 8 * kSums;           // of the accumulators
  static constexpr int kSteps = kRows == 16 ? 8 : 16;  // of 16 columns, at most, a warp
};

// A warp's part of the inputs.
template <class Form, int kRows>
class Inputs {
 public:
  using B = Batch<kRows>;
  using Pieces = typename Form::Pieces;

  // Loads columns [begin, begin + columns) of the rows. sums: [groups][kColumns], or unused.
  __device__ void load(const Rows& rows, int64_t begin, int columns, float* sums) {
    const int g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      const int row = kRows == 4 ? g % 4 : g + 8 * s;
      float unit = 1.0f;
      if (Pieces::kNeedsUnit) unit = find_unit(rows, row, begin, columns);
      const float of_sum = Form::kCodeUnit / unit;
      const int t = threadIdx.x % 4;
      factor_[s][0] = __shfl_sync(~0u, of_sum, 8 * t);
      factor_[s][1] = __shfl_sync(~0u, of_sum, 8 * t + 4);
      convert(rows, row, begin, columns, unit, s, sums);
    }
    __syncwarp();
  }

  // sums[s] += a * inputs, in step `k` of 16 columns; a compile-time number after unrolling.
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
  __device__ static float4 read(const Rows& rows, int row, int64_t c) {
    const float* x = rows.data + row * rows.stride;
    float4 v = quad(x, c, rows.columns);
    if (rows.kind == Rows::Kind::normed) {
      const float4 n = quad(rows.norm, c, rows.columns);
      v = {v.x * n.x, v.y * n.y, v.z * n.z, v.w * n.w};
    } else if (rows.kind == Rows::Kind::gated) {
      const float4 u = quad(x + rows.columns, c, rows.columns);
      v = {activate(rows.activation, v.x) * u.x, activate(rows.activation, v.y) * u.y,
           activate(rows.activation, v.z) * u.z, activate(rows.activation, v.w) * u.w};
    }
    return v;
  }

  // Columns c .. c + 3 of `columns`; zeros past them.
  __device__ static float4 quad(const float* x, int64_t c, int64_t columns) {
    if (columns % 4 == 0) {
      return c < columns ? *reinterpret_cast<const float4*>(x + c) : float4{};
    }
    const auto one = [&](int64_t i) { return i < columns ? x[i] : 0.0f; };
    return {one(c), one(c + 1), one(c + 2), one(c + 3)};
  }

  __device__ static float find_unit(const Rows& rows, int row, int64_t begin, int columns) {
    float largest = 0.0f;
    if (row < rows.count) {
#pragma unroll 4
      for (int k = 0; k < B::kSteps; ++k) {
        if (16 * k >= columns) break;
        const float4 v = read(rows, row, begin + Form::column_of(k));
        largest =
            fmaxf(largest, fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w))));
      }
    }
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
    // 2^(14 - exponent); the largest number is then below 2^15.
    const int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
    return __uint_as_float(static_cast<uint32_t>(min(max(14 - exponent, -100), 100) + 127) << 23);
  }

  __device__ void convert(const Rows& rows, int row, int64_t begin, int columns, float unit, int s,
                          float* sums) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < B::kSteps; ++k) {
      float4 v{};
      if (row < rows.count && 16 * k < columns) v = read(rows, row, begin + Form::column_of(k));
      v = {v.x * unit, v.y * unit, v.z * (unit * Form::kUpperUnit),
           v.w * (unit * Form::kUpperUnit)};
      const uint32_t high0 = Pieces::high(v.x, v.y), high1 = Pieces::high(v.z, v.w);
      const uint32_t low0 = low_of<Pieces>(v.x, v.y, high0), low1 = low_of<Pieces>(v.z, v.w, high1);
      if (kRows == 4) {
        pieces_[k][0][0] = g < 4 ? high0 : low0;
        pieces_[k][0][1] = g < 4 ? high1 : low1;
      } else {
        pieces_[k][2 * s][0] = high0;
        pieces_[k][2 * s][1] = high1;
        pieces_[k][2 * s + 1][0] = low0;
        pieces_[k][2 * s + 1][1] = low1;
      }
      if (!Form::kGrouped) continue;
      if (kRows == 4) {
        sum += pair_sum(pieces_[k][0][0]) + pair_sum(pieces_[k][0][1]) * (1.0f / Form::kUpperUnit);
      } else {
        sum += pair_sum(high0) + pair_sum(low0) +
               (pair_sum(high1) + pair_sum(low1)) * (1.0f / Form::kUpperUnit);
      }
      if (k % Form::kGroupSteps == Form::kGroupSteps - 1) {
        sum += __shfl_xor_sync(~0u, sum, 1);
        sum += __shfl_xor_sync(~0u, sum, 2);
        // In the unit of products with codes.
        if (t == 0) {
          sums[k / Form::kGroupSteps * B::kColumns + 8 * s + g] = sum * (1.0f / Form::kCodeUnit);
        }
        sum = 0.0f;
      }
    }
  }

  __device__ static float pair_sum(uint32_t bits) {
    const float2 v = Pieces::value(bits);
    return v.x + v.y;
  }

  uint32_t pieces_[B::kSteps][B::kOperands][2];
  float factor_[B::kSums][2];
};

// bf16 and f16 matrices. A stage of the ring is 32 columns: 16 bytes a lane of rows g and g + 8.
template <class PiecesOfForm>
struct DenseForm {
  using Pieces = PiecesOfForm;
  static constexpr bool kGrouped = false;
  static constexpr int kGroupSteps = 1;
  static constexpr float kCodeUnit = 1.0f, kUpperUnit = 1.0f;
  static constexpr int kStageColumns = 32;
  static constexpr int kDepth = kDenseStages;

  __host__ __device__ static int scale_bytes(const PackedMatrix&) { return 0; }

  __device__ static int column_of(int k) {
    return 32 * (k / 2) + 8 * static_cast<int>(threadIdx.x % 4) + 4 * (k % 2);
  }

  __device__ static void fetch(const PackedMatrix& m, int64_t panel, int64_t column,
                               uint32_t stage) {
    const int lane = threadIdx.x % 32;
    const int64_t row = panel * kPanel + lane / 4;
    const int64_t width = m.padded_columns();
    const bool exists = column < width;
    const std::byte* from = m.data + (row * width + column + lane % 4 * 8) * 2;
    const bool lower = exists && row < m.rows, upper = exists && row + 8 < m.rows;
    copy_async(stage + 16 * lane, lower ? from : m.data, lower);
    copy_async(stage + 512 + 16 * lane, upper ? from + 16 * width : m.data, upper);
  }

  // `k`: the first step of the stage.
  template <int kRows>
  __device__ static void multiply(const PackedMatrix&, uint32_t stage, int k,
                                  const Inputs<DenseForm, kRows>& x, const float*,
                                  float (&sums)[Batch<kRows>::kSums][4]) {
    const int lane = threadIdx.x % 32;
    const uint4 a = load_shared(stage + 16 * lane), b = load_shared(stage + 512 + 16 * lane);
    x.multiply(k, sums, a.x, b.x, a.y, b.y);
    x.multiply(k + 1, sums, a.z, b.z, a.w, b.w);
  }
};

// Grouped matrices; pack_kernels.cu has the order. A stage is 1 KiB of codes, one or two blocks of
// columns, and then their groups' scales. Codes become f16 numbers by masking alone: with exponent
// bits 0 they are code * 2^-24, or 2^-20 for the nibbles that stay 4 bits higher, whose inputs are
// 2^-4 times theirs. Groups of 128 are taken as two of 64.
template <int kBits, int kGroup>
struct GroupedForm {
  using Pieces = F16Pieces;
  static constexpr bool kGrouped = true;
  static constexpr int kGroupSteps = kGroup / 16;
  static constexpr float kCodeUnit = 16777216.0f;
  static constexpr float kUpperUnit = kBits == 4 ? 1.0f / 16 : 1.0f;
  static constexpr int kStageColumns = 512 / kBits;
  static constexpr int kDepth = kGroupedStages;
  static constexpr int kLoads = kBits / 4;  // of 16 bytes, a lane and block

  // Of a stage.
  __host__ __device__ static int scale_bytes(const PackedMatrix& m) {
    const int groups = m.group < kStageColumns ? kStageColumns / m.group : 1;
    return groups * static_cast<int>(m.scale_bytes());
  }

  __device__ static int column_of(int k) { return 16 * k + 4 * static_cast<int>(threadIdx.x % 4); }

  __device__ static void fetch(const PackedMatrix& m, int64_t panel, int64_t column,
                               uint32_t stage) {
    const int lane = threadIdx.x % 32;
    const int64_t blocks = m.padded_columns() / kColumnBlock, block = column / kColumnBlock;
    const std::byte* from = m.data + (panel * blocks + block) * (128 * kBits) + 16 * lane;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const bool exists = block + i / kLoads < blocks;
      copy_async(stage + 512 * i + 16 * lane, exists ? from + 512 * i : m.data, exists);
    }
    const int64_t group = column / m.group, groups = m.padded_groups();
    const int bytes = static_cast<int>(m.scale_bytes());
    const std::byte* scales = m.scales() + (panel * groups + group) * bytes;
    const int64_t there = (groups - group) * bytes;
    for (int i = 16 * lane; i < scale_bytes(m); i += 512) {
      copy_async(stage + kStageBytes + i, i < there ? scales + i : m.data, i < there);
    }
  }

  template <int kRows>
  __device__ static void multiply(const PackedMatrix& m, uint32_t stage, int k,
                                  const Inputs<GroupedForm, kRows>& x, const float* input_sums,
                                  float (&sums)[Batch<kRows>::kSums][4]) {
    using B = Batch<kRows>;
    const int lane = threadIdx.x % 32;
    const float offset = kBits == 4 ? -8.0f : -128.0f;
    __syncwarp();  // scales come by other lanes' copies
#pragma unroll
    for (int block = 0; block < 2 / kLoads; ++block) {
      uint4 words[kLoads];
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        words[i] = load_shared(stage + 512 * (kLoads * block + i) + 16 * lane);
      }
#pragma unroll
      for (int first = 0; first < 4; first += kGroupSteps) {
        const int step = 4 * block + first;
        const float* of_group = input_sums + (k + step) / kGroupSteps * B::kColumns + lane % 4 * 2;
        float products[B::kSums][4];
#pragma unroll
        for (int s = 0; s < B::kSums; ++s) {
          const float2 input = *reinterpret_cast<const float2*>(of_group + 8 * s);
          products[s][0] = products[s][2] = m.symmetric ? offset * input.x : 0.0f;
          products[s][1] = products[s][3] = m.symmetric ? offset * input.y : 0.0f;
        }
#pragma unroll
        for (int i = first; i < first + kGroupSteps; ++i) {
          multiply_step(words, i, k + 4 * block + i, x, products);
        }
        add_scaled<B>(m, stage + kStageBytes, 16 * step / m.group, of_group, products, sums);
      }
    }
    __syncwarp();  // all have read the scales
  }

 private:
  template <int kRows>
  __device__ static void multiply_step(const uint4 (&words)[kLoads], int i, int k,
                                       const Inputs<GroupedForm, kRows>& x,
                                       float (&products)[Batch<kRows>::kSums][4]) {
    if constexpr (kBits == 4) {
      const uint32_t w = i == 0   ? words[0].x
                         : i == 1 ? words[0].y
                         : i == 2 ? words[0].z
                                  : words[0].w;
      const uint32_t v = w >> 8;
      x.multiply(k, products, w & 0x000f000fu, v & 0x000f000fu, w & 0x00f000f0u, v & 0x00f000f0u);
    } else {
      const uint4& two = words[i / 2];
      const uint32_t w = i % 2 == 0 ? two.x : two.z, v = i % 2 == 0 ? two.y : two.w;
      x.multiply(k, products, w & 0x00ff00ffu, v & 0x00ff00ffu, w >> 8 & 0x00ff00ffu,
                 v >> 8 & 0x00ff00ffu);
    }
  }

  // Scales of rows g and g + 8; then their minimums where there are some.
  __device__ static float2 pair_at(bool half, uint32_t scales, int pair) {
    float2 v;
    if (half) {
      uint32_t bits;
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(bits) : "r"(scales + 4 * pair) : "memory");
      return F16Pieces::value(bits);
    }
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];"
                 : "=f"(v.x), "=f"(v.y)
                 : "r"(scales + 8 * pair)
                 : "memory");
    return v;
  }

  template <class B>
  __device__ static void add_scaled(const PackedMatrix& m, uint32_t scales, int group,
                                    const float* input_sums, const float (&products)[B::kSums][4],
                                    float (&sums)[B::kSums][4]) {
    const int pair = 8 * group + static_cast<int>(threadIdx.x % 32 / 4);
    const float2 scale = pair_at(m.half_scales, scales, m.symmetric ? pair : 2 * pair);
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      sums[s][0] += scale.x * products[s][0];
      sums[s][1] += scale.x * products[s][1];
      sums[s][2] += scale.y * products[s][2];
      sums[s][3] += scale.y * products[s][3];
    }
    if (m.symmetric) return;
    const float2 minimum = pair_at(m.half_scales, scales, 2 * pair + 1);
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      const float2 input = *reinterpret_cast<const float2*>(input_sums + 8 * s);
      sums[s][0] += minimum.x * input.x;
      sums[s][1] += minimum.x * input.y;
      sums[s][2] += minimum.y * input.x;
      sums[s][3] += minimum.y * input.y;
    }
  }
};

}  // namespace dinfer::cuda
