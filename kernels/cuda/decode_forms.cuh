#pragma once

#include "kernels/cuda/decode_inputs.cuh"
#include "kernels/cuda/decode_task.h"

namespace dinfer::cuda {

// bf16 and f16 matrices. A stage of the ring is 64 columns, in halves of 32: 16 bytes a lane of row
// g, and of row g + 8.
template <class PiecesOfForm>
struct DenseForm {
  using Pieces = PiecesOfForm;
  static constexpr bool kGrouped = false;
  static constexpr int kGroupSteps = 1;
  static constexpr float kCodeUnit = 1.0f, kUpperUnit = 1.0f;
  static constexpr int kStageColumns = 64;
  static constexpr int kStageBytes = kDenseStageBytes;
  static constexpr int kDepth = kDenseStages;

  // Of a stage.
  __host__ __device__ static int scale_bytes(const DecodeTask&) { return 0; }

  __device__ static float sum_factor(const DecodeTask&) { return 0.0f; }

  __device__ static int column_of(int k) {
    return 32 * (k / 2) + 8 * static_cast<int>(threadIdx.x % 4) + 4 * (k % 2);
  }

  // Copies a warp's columns of a panel, stage by stage.
  class Source {
   public:
    __device__ Source(const DecodeTask& task, int panel, int column) {
      const int lane = threadIdx.x % 32, row = panel * static_cast<int>(kPanel) + lane / 4;
      from_ = task.codes + (int64_t{row} * task.width + column + lane % 4 * 8) * 2;
      to_upper_ = 16 * task.width;
      stages_ = (task.width - column) / kStageColumns;
      lower_ = row < task.weight_rows ? 16 : 0;
      upper_ = row + 8 < task.weight_rows ? 16 : 0;
    }

    __device__ void fetch(const DecodeTask&, uint32_t stage) {
      stage += 16 * (threadIdx.x % 32);
      const int lower = stages_ > 0 ? lower_ : 0, upper = stages_ > 0 ? upper_ : 0;
      copy_async(stage, from_, lower);
      copy_async(stage + 512, from_ + to_upper_, upper);
      copy_async(stage + 1024, from_ + 64, lower);
      copy_async(stage + 1536, from_ + to_upper_ + 64, upper);
      from_ += 2 * kStageColumns;
      --stages_;
    }

   private:
    const std::byte* from_;
    int to_upper_, stages_, lower_, upper_;
  };

  // `k`: the first step of the stage.
  template <int kRows>
  __device__ static void multiply(const DecodeTask&, uint32_t stage, int k,
                                  const Inputs<DenseForm, kRows>& x, const float*,
                                  float (&sums)[Batch<kRows>::kSums][4]) {
    const uint32_t from = stage + 16 * (threadIdx.x % 32);
    const uint4 a = load_shared(from), b = load_shared(from + 512);
    const uint4 c = load_shared(from + 1024), d = load_shared(from + 1536);
    x.multiply(k, sums, a.x, b.x, a.y, b.y);
    x.multiply(k + 1, sums, a.z, b.z, a.w, b.w);
    x.multiply(k + 2, sums, c.x, d.x, c.y, d.y);
    x.multiply(k + 3, sums, c.z, d.z, c.w, d.w);
  }
};

// Grouped matrices; pack_kernels.cu has the order. A stage is 1 KiB of codes, one or two blocks of
// columns, and then their groups' scales. Codes become f16 numbers by masking alone: with exponent
// bits 0 they are code * 2^-24, or 2^-20 for the nibbles that stay 4 bits higher, whose inputs are
// 2^-4 times theirs. Groups of 128 are taken as two of 64.
// kSimple: symmetric with f16 scales, known in advance; else the task tells.
template <int kBits, int kGroup, bool kSimple>
struct GroupedForm {
  using Pieces = F16Pieces;
  static constexpr bool kGrouped = true;
  static constexpr int kGroupSteps = kGroup / 16;
  static constexpr float kCodeUnit = 16777216.0f;
  static constexpr float kUpperUnit = kBits == 4 ? 1.0f / 16 : 1.0f;
  static constexpr int kStageColumns = 512 / kBits;
  static constexpr int kStageBytes = kGroupedStageBytes;  // codes; scales follow
  static constexpr int kDepth = kGroupedStages;
  static constexpr int kLoads = kBits / 4;  // of 16 bytes, a lane and block

  __host__ __device__ static int scale_bytes(const DecodeTask& task) {
    const int groups = kStageColumns >> task.group_shift;
    return (groups > 0 ? groups : 1) * task.scale_bytes;
  }

  // What sums of inputs are multiplied with, so that they are in the unit of products with codes;
  // and, where symmetric, make up for the code that stands for 0.
  __device__ static float sum_factor(const DecodeTask& task) {
    constexpr float kZero = kBits == 4 ? -8.0f : -128.0f;
    return (task.symmetric ? kZero : 1.0f) / kCodeUnit;
  }

  __device__ static int column_of(int k) { return 16 * k + 4 * static_cast<int>(threadIdx.x % 4); }

  class Source {
   public:
    __device__ Source(const DecodeTask& task, int panel, int column) : column_(column) {
      const int lane = threadIdx.x % 32;
      const int blocks = task.width / static_cast<int>(kColumnBlock);
      blocks_ = blocks - column / static_cast<int>(kColumnBlock);
      codes_ =
          task.codes + (int64_t{panel} * blocks + (blocks - blocks_)) * (128 * kBits) + 16 * lane;
      scales_ = task.scales + int64_t{panel} * task.groups * task.scale_bytes;
    }

    __device__ void fetch(const DecodeTask& task, uint32_t stage) {
      const int lane = threadIdx.x % 32;
      const uint32_t to = stage + 16 * lane;
      copy_async(to, codes_, blocks_ > 0 ? 16 : 0);
      copy_async(to + 512, codes_ + 512, blocks_ > 1 / kLoads ? 16 : 0);
      const int at = (column_ >> task.group_shift) * task.scale_bytes + 16 * lane;
      const int end = task.groups * task.scale_bytes, bytes = scale_bytes(task);
      if (16 * lane < bytes) {
        copy_async(to + kStageBytes, scales_ + at, at < end ? 16 : 0);
        if (bytes > 512) {  // two pieces a lane at most
          copy_async(to + kStageBytes + 512, scales_ + at + 512, at + 512 < end ? 16 : 0);
        }
      }
      codes_ += kStageBytes;
      blocks_ -= 2 / kLoads;
      column_ += kStageColumns;
    }

   private:
    const std::byte* codes_;
    const std::byte* scales_;
    int column_, blocks_;
  };

  template <int kRows>
  __device__ static void multiply(const DecodeTask& task, uint32_t stage, int k,
                                  const Inputs<GroupedForm, kRows>& x, const float* input_sums,
                                  float (&sums)[Batch<kRows>::kSums][4]) {
    using B = Batch<kRows>;
    const int lane = threadIdx.x % 32;
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
          products[s][0] = products[s][2] = symmetric(task) ? input.x : 0.0f;
          products[s][1] = products[s][3] = symmetric(task) ? input.y : 0.0f;
        }
#pragma unroll
        for (int i = first; i < first + kGroupSteps; ++i) {
          multiply_step(words, i, k + 4 * block + i, x, products);
        }
        add_scaled<B>(task, stage + kStageBytes, group_of(task, step), of_group, products, sums);
      }
    }
    __syncwarp();  // all have read the scales
  }

 private:
  __device__ static bool symmetric(const DecodeTask& task) { return kSimple || task.symmetric; }

  // Of a step of a stage, among the stage's groups.
  __device__ static int group_of(const DecodeTask& task, int step) {
    return kGroup < 64 ? step / kGroupSteps : 16 * step >> task.group_shift;
  }

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
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(bits) : "r"(scales + 4 * pair));
      return F16Pieces::value(bits);
    }
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(scales + 8 * pair));
    return v;
  }

  template <class B>
  __device__ static void add_scaled(const DecodeTask& task, uint32_t scales, int group,
                                    const float* input_sums, const float (&products)[B::kSums][4],
                                    float (&sums)[B::kSums][4]) {
    const int pair = 8 * group + static_cast<int>(threadIdx.x % 32 / 4);
    const float2 scale =
        pair_at(kSimple || task.half_scales, scales, symmetric(task) ? pair : 2 * pair);
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      sums[s][0] += scale.x * products[s][0];
      sums[s][1] += scale.x * products[s][1];
      sums[s][2] += scale.y * products[s][2];
      sums[s][3] += scale.y * products[s][3];
    }
    if (symmetric(task)) return;
    const float2 minimum = pair_at(task.half_scales, scales, 2 * pair + 1);
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
