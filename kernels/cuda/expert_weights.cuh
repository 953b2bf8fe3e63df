#pragma once

#include "kernels/cuda/batch_weights.cuh"
#include "kernels/cuda/expert_products.h"
#include "kernels/cuda/tensor_core.cuh"

namespace dinfer::cuda {

// How a warp brings a unit of its two panels' columns to shared memory, and makes tensor-core
// operands of it: for each step of 16 columns, those whose columns 2 t, 2 t + 1, 2 t + 8, 2 t + 9
// are columns 4 t .. 4 t + 3 of the matrix, since the order of columns is free and a lane then
// reads four numbers of the inputs at a time.

// Rows in shared memory are this many bytes longer than their numbers, so that reads of 8 bytes by
// 4 lanes each of 4 rows meet different banks.
constexpr int kExpertPadding = 32;

// bf16 and f16.
template <class NumberOfWeights>
class DenseExperts {
 public:
  using Number = NumberOfWeights;
  static constexpr int kUnitBlocks = 1;
  static constexpr int kUnitBytes = kUnitBlocks * static_cast<int>(kColumnBlock) * 2;
  static constexpr int kPitch = kUnitBytes + kExpertPadding;

  __host__ __device__ static int unit_bytes(const BatchCodes&) { return 2 * kPanel * kPitch; }

  __device__ DenseExperts(const ExpertProduct& product, int expert, int panel)
      : row_bytes_(product.weight.blocks * kUnitBytes) {
    const int lane = threadIdx.x % 32;
    const int first = panel * static_cast<int>(kPanel) + lane / kPieces;
    rows_ = product.half_rows - first;
    lower_ = product.weight.codes + (int64_t{2} * expert * product.half_rows + first) * row_bytes_ +
             16 * (lane % kPieces);
    to_upper_ = int64_t{product.half_rows} * row_bytes_;
  }

  __device__ void fetch(const ExpertProduct&, int unit, uint32_t to) const {
    const int lane = threadIdx.x % 32;
    to += lane / kPieces * kPitch + 16 * (lane % kPieces);
    const std::byte* from = lower_ + unit * kUnitBytes;
#pragma unroll
    for (int row = 0; row < kPanel; row += kRowsAtOnce) {
      if (row < rows_) {
        copy_async(to + row * kPitch, from);
        copy_async(to + (kPanel + row) * kPitch, from + to_upper_);
      }
      from += kRowsAtOnce * row_bytes_;
    }
  }

  // multiply(step, operands of the lower panel, of the upper panel); the next ones come meanwhile.
  template <class Multiply>
  __device__ static void each_step(const ExpertProduct&, uint32_t unit, int, Multiply&& multiply) {
    constexpr int kSteps = 4 * kUnitBlocks;
    const uint32_t row = unit + threadIdx.x % 32 / 4 * kPitch + threadIdx.x % 4 * 8;
    uint32_t operands[2][2][4];
    const auto load = [&](int step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int half = i / 2, upper = i % 2;
        const uint2 pair = load_shared_pair(row + (kPanel * half + 8 * upper) * kPitch + 32 * step);
        operands[step % 2][half][upper] = pair.x;
        operands[step % 2][half][2 + upper] = pair.y;
      }
    };
    load(0);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if (step + 1 < kSteps) load(step + 1);
      multiply(step, operands[step % 2][0], operands[step % 2][1]);
    }
  }

  __device__ static void multiply(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    if constexpr (std::is_same_v<Number, __half>) {
      multiply_f16(d, a[0], a[1], a[2], a[3], b.x, b.y);
    } else {
      multiply_bf16(d, a[0], a[1], a[2], a[3], b.x, b.y);
    }
  }

 private:
  static constexpr int kPieces = kUnitBytes / 16, kRowsAtOnce = 32 / kPieces;

  const std::byte* lower_;
  int64_t to_upper_;
  int row_bytes_, rows_;  // that exist from the lane's first
};

// Grouped matrices, as f16 numbers.
template <int kBits, BatchScales kScales>
class GroupedExperts {
 public:
  using Number = __half;
  static constexpr int kUnitBlocks = kBatchStageBlocks(kBits);
  static constexpr int kUnitBytes = kUnitBlocks * static_cast<int>(kColumnBlock) * 2;  // of inputs
  static constexpr int kPitch = kUnitBytes + kExpertPadding;

  __host__ __device__ static int unit_bytes(const BatchCodes& weight) {
    return 2 * (kBatchCodeBytes + weight.stage_scale_bytes(kBits));
  }

  __device__ GroupedExperts(const ExpertProduct& product, int expert, int panel) {
    const BatchCodes& weight = product.weight;
    const int64_t first = int64_t{2} * expert * product.half_panels + panel;
    const int at = 16 * (threadIdx.x % 32);
    codes_ = weight.codes + first * weight.panel_code_bytes + at;
    scales_ = weight.scales + first * weight.groups * weight.group_bytes + at;
  }

  __device__ void fetch(const ExpertProduct& product, int unit, uint32_t to) const {
    const BatchCodes& weight = product.weight;
    const int at = 16 * (threadIdx.x % 32);
    const int code_bytes =
        min(kUnitBlocks, weight.blocks - unit * kUnitBlocks) * (kBatchCodeBytes / kUnitBlocks);
    const int all_scales = weight.stage_scale_bytes(kBits);
    const int group = unit * kUnitBlocks * static_cast<int>(kColumnBlock) >> weight.group_shift;
    const int scale_bytes = min(all_scales, (weight.groups - group) * weight.group_bytes);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int64_t panels = half * int64_t{product.half_panels};
      const std::byte* codes = codes_ + panels * weight.panel_code_bytes + unit * kBatchCodeBytes;
#pragma unroll
      for (int i = 0; i < kBatchCodeBytes; i += 512) {
        if (i + at < code_bytes) copy_async(to + half * kBatchCodeBytes + i + at, codes + i);
      }
      const std::byte* scales = scales_ + (panels * weight.groups + group) * weight.group_bytes;
      const uint32_t to_scales = to + 2 * kBatchCodeBytes + half * all_scales;
#pragma unroll 1
      for (int i = 0; i + at < scale_bytes; i += 512) copy_async(to_scales + i + at, scales + i);
    }
  }

  // `blocks`: how many of the unit's the matrix has.
  template <class Multiply>
  __device__ static void each_step(const ExpertProduct& product, uint32_t unit, int blocks,
                                   Multiply&& multiply) {
    using Weights = BatchWeights<kBits, kScales>;
    const BatchCodes& weight = product.weight;
    const uint32_t scales = unit + 2 * kBatchCodeBytes;
    const Weights lower(weight, unit, scales);
    const Weights upper(weight, unit + kBatchCodeBytes, scales + weight.stage_scale_bytes(kBits));
    const auto raw_lower = lower.read(), raw_upper = upper.read();
#pragma unroll
    for (int half = 0; half < Weights::kHalves; ++half) {  // of blocks
      if (half >= 2 * blocks) break;
      uint32_t operands[2][2][4];
      lower.operands(raw_lower, half, operands[0]);
      upper.operands(raw_upper, half, operands[1]);
#pragma unroll
      for (int step = 0; step < 2; ++step) {
        multiply(2 * half + step, operands[0][step], operands[1][step]);
      }
    }
  }

  __device__ static void multiply(float (&d)[4], const uint32_t (&a)[4], uint2 b) {
    multiply_f16(d, a[0], a[1], a[2], a[3], b.x, b.y);
  }

 private:
  const std::byte* codes_;
  const std::byte* scales_;
};

}  // namespace dinfer::cuda
