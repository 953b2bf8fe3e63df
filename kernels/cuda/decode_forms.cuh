#pragma once

#include "kernels/cuda/decode_inputs.cuh"
#include "kernels/cuda/decode_task.h"

namespace dinfer::cuda {

// A form says how a warp's part of a matrix passes through its ring: stages of kStageColumns
// columns of a panel, kDepth at a time, which a Source copies and multiply() takes.

// bf16 and f16 matrices with one row of inputs. A stage is in halves of 32 columns: 16 bytes a lane
// of row g, and of row g + 8.
template <class PiecesOfForm>
struct DenseForm {
  using Pieces = PiecesOfForm;
  static constexpr int kRows = 1;
  static constexpr bool kGrouped = false, kSumPieces = false;
  static constexpr int kGroupSteps = 1;
  static constexpr float kCodeUnit = 1.0f, kUpperUnit = 1.0f;
  static constexpr int kStageColumns = kDenseStageColumns;
  static constexpr int kDepth = kDenseStages;

  __host__ __device__ static int stage_bytes(const DecodeTask&) { return 32 * kStageColumns; }

  __device__ static float sum_factor(const DecodeTask&) { return 0.0f; }

  __device__ static int column_of(int k) {
    return 32 * (k / 2) + 8 * static_cast<int>(threadIdx.x % 4) + 4 * (k % 2);
  }

  // Copies a warp's columns of a panel, stage by stage.
  class Source {
   public:
    __device__ Source(const DecodeTask& task, int panel, int column) {
      const int lane = threadIdx.x % 32;
      row_ = panel * static_cast<int>(kPanel) + lane / 4;
      from_ = task.codes + (int64_t{row_} * task.width + column + lane % 4 * 8) * 2;
      to_upper_ = 16 * task.width;
      stages_ = (task.width - column) / kStageColumns;
    }

    __device__ void fetch(const DecodeTask& task, uint32_t stage) {
      stage += 16 * (threadIdx.x % 32);
      const int lower = stages_ > 0 && row_ < task.weight_rows ? 16 : 0;
      const int upper = stages_ > 0 && row_ + 8 < task.weight_rows ? 16 : 0;
      copy_async(stage, from_, lower);
      copy_async(stage + 512, from_ + to_upper_, upper);
      copy_async(stage + 1024, from_ + 64, lower);
      copy_async(stage + 1536, from_ + to_upper_ + 64, upper);
      from_ += 2 * kStageColumns;
      --stages_;
    }

    // To the same columns of the next panel, from the end of `stages` of them.
    __device__ void next_panel(const DecodeTask& task, int stages) {
      from_ += task.panel_bytes - 2 * kStageColumns * stages;
      row_ += static_cast<int>(kPanel);
      stages_ += stages;
    }

   private:
    const std::byte* from_;
    int row_, to_upper_, stages_;
  };

  // `k`: the first step of the stage.
  __device__ static void multiply(const DecodeTask&, uint32_t stage, int k,
                                  const Inputs<DenseForm>& x, const float*, Sums<kRows>& sums) {
    const uint32_t from = stage + 16 * (threadIdx.x % 32);
    const uint4 a = load_shared(from), b = load_shared(from + 512);
    const uint4 c = load_shared(from + 1024), d = load_shared(from + 1536);
    x.multiply(k, sums.values, a.x, b.x, a.y, b.y);
    x.multiply(k + 1, sums.values, a.z, b.z, a.w, b.w);
    x.multiply(k + 2, sums.values, c.x, d.x, c.y, d.y);
    x.multiply(k + 3, sums.values, c.z, d.z, c.w, d.w);
  }
};

// How the scales of a grouped matrix are stored; `any`: f32, symmetric or with minimums.
enum class Scales : uint8_t { half, half_minimums, any };

// Grouped matrices; pack_kernels.cu has the order. A stage is some blocks of 64 columns' codes, and
// then their groups' scales. Codes become f16 numbers by masking alone: with exponent bits 0 they
// are code * 2^-24, or 2^-20 for the nibbles that stay 4 bits higher, whose inputs are 2^-4 times
// theirs. Groups of 128 are taken as two of 64.
//
// An element is scale * code + minimum, where symmetric matrices have the minimum -8 * scale, or
// -128 * scale. What minimums add is their product with the sums of the inputs by groups: one more
// tensor-core instruction a stage where they are f16, arithmetic a group otherwise.
template <int kBits, int kGroup, Scales kScales, int kRowsOfForm>
struct GroupedForm {
  using Pieces = F16Pieces;
  using B = Batch<kRowsOfForm>;
  static constexpr int kRows = kRowsOfForm;
  static constexpr bool kGrouped = true, kSumPieces = kScales != Scales::any;
  static constexpr int kGroupSteps = kGroup / 16;
  static constexpr float kCodeUnit = 16777216.0f;
  static constexpr float kUpperUnit = kBits == 4 ? 1.0f / 16 : 1.0f;
  static constexpr int kStageColumns = kGroupedStageColumns(kBits, kRows);
  static constexpr int kDepth = kGroupedStages(kBits, kRows);
  static constexpr int kCodeBytes = 2 * kBits * kStageColumns;  // of a stage
  static constexpr int kStageBlocks = kStageColumns / static_cast<int>(kColumnBlock);
  static constexpr int kStageGroups = kStageColumns / kGroup;
  static constexpr int kLoads = kBits / 4;  // of 16 bytes, a lane and block
  static_assert(kStageGroups <= 8 || !kSumPieces);

  __host__ __device__ static int group_bytes(const DecodeTask& task) {
    return kScales == Scales::half ? 32 : kScales == Scales::half_minimums ? 64 : task.scale_bytes;
  }
  __host__ __device__ static int stage_scale_bytes(const DecodeTask& task) {
    const int groups = kGroup < 64 ? kStageGroups : kStageColumns >> task.group_shift;
    return groups * group_bytes(task);
  }
  __host__ __device__ static int stage_bytes(const DecodeTask& task) {
    return kCodeBytes + stage_scale_bytes(task);
  }

  // What sums of inputs are multiplied with: the minimum in units of the scale, or of itself.
  __device__ static float sum_factor(const DecodeTask& task) {
    return symmetric(task) ? (kBits == 4 ? -8.0f : -128.0f) : 1.0f;
  }

  __device__ static int column_of(int k) { return 16 * k + 4 * static_cast<int>(threadIdx.x % 4); }

  class Source {
   public:
    __device__ Source(const DecodeTask& task, int panel, int column) {
      const int lane = threadIdx.x % 32;
      const int all = task.width / static_cast<int>(kColumnBlock);
      const int first = column / static_cast<int>(kColumnBlock);
      const int group = column >> task.group_shift;
      blocks_ = all - first;
      codes_ = task.codes + (int64_t{panel} * all + first) * (128 * kBits) + 16 * lane;
      scales_ =
          task.scales + (int64_t{panel} * task.groups + group) * group_bytes(task) + 16 * lane;
      scale_bytes_ = (task.groups - group) * group_bytes(task) - 16 * lane;
    }

    __device__ void fetch(const DecodeTask& task, uint32_t stage) {
      const uint32_t to = stage + 16 * (threadIdx.x % 32);
      if (blocks_ >= kStageBlocks) {
#pragma unroll
        for (int at = 0; at < kCodeBytes; at += 512) copy_async(to + at, codes_ + at);
      } else {
#pragma unroll
        for (int at = 0; at < kCodeBytes; at += 512) {
          copy_async(to + at, codes_ + at, blocks_ > at / (128 * kBits) ? 16 : 0);
        }
      }
      const int bytes = stage_scale_bytes(task);
#pragma unroll 1
      for (int at = 0; at < bytes; at += 512) {
        if (16 * static_cast<int>(threadIdx.x % 32) + at < bytes) {
          copy_async(to + kCodeBytes + at, scales_ + at, scale_bytes_ > at ? 16 : 0);
        }
      }
      codes_ += kCodeBytes;
      scales_ += bytes;
      scale_bytes_ -= bytes;
      blocks_ -= kStageBlocks;
    }

    __device__ void next_panel(const DecodeTask& task, int stages) {
      codes_ += task.panel_bytes - stages * kCodeBytes;
      scales_ += task.groups * group_bytes(task) - stages * stage_scale_bytes(task);
      scale_bytes_ += stages * stage_scale_bytes(task);
      blocks_ += stages * kStageBlocks;
    }

   private:
    const std::byte* codes_;
    const std::byte* scales_;
    int scale_bytes_, blocks_;  // left of the line
  };

  __device__ static void multiply(const DecodeTask& task, uint32_t stage, int k,
                                  const Inputs<GroupedForm>& x, const float* input_sums,
                                  Sums<kRows>& sums) {
    const uint32_t scales = stage + kCodeBytes;
    __syncwarp();  // scales come by other lanes' copies
    if constexpr (kSumPieces) add_minimums(task, scales, k, x, sums);
#pragma unroll
    for (int block = 0; block < kStageBlocks; ++block) {
      uint4 words[kLoads];
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        words[i] = load_shared(stage + 512 * (kLoads * block + i) + 16 * (threadIdx.x % 32));
      }
#pragma unroll
      for (int first = 0; first < 4; first += kGroupSteps) {
        const int step = 4 * block + first;
        float products[B::kSums][4] = {};
#pragma unroll
        for (int i = first; i < first + kGroupSteps; ++i) {
          multiply_step(words, i, k + 4 * block + i, x, products);
        }
        const int group = group_of(task, step / kGroupSteps);
        add_scaled(task, scales, group, products, sums);
        if constexpr (!kSumPieces) {
          add_minimum(task, scales, group, input_sums + (k + step) / kGroupSteps * B::kColumns,
                      sums);
        }
      }
    }
    __syncwarp();  // all have read the scales
  }

 private:
  __device__ static bool symmetric(const DecodeTask& task) {
    return kScales == Scales::half || (kScales == Scales::any && task.symmetric);
  }

  // Of a group as it is multiplied, among those of the stage that have scales.
  __device__ static int group_of(const DecodeTask& task, int group) {
    return kGroup < 64 ? group : 64 * group >> task.group_shift;
  }

  __device__ static void multiply_step(const uint4 (&words)[kLoads], int i, int k,
                                       const Inputs<GroupedForm>& x,
                                       float (&products)[B::kSums][4]) {
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

  // Scales of rows g and g + 8 of a group, or their minimums.
  __device__ static uint32_t half_pair(const DecodeTask& task, uint32_t scales, int group, int g,
                                       bool minimum) {
    uint32_t bits;
    const int each = kScales == Scales::half ? 4 : 8;
    asm volatile("ld.shared.u32 %0, [%1];"
                 : "=r"(bits)
                 : "r"(scales + group * group_bytes(task) + each * g + (minimum ? 4 : 0)));
    return bits;
  }

  __device__ static float2 float_pair(const DecodeTask& task, uint32_t scales, int group,
                                      bool minimum) {
    float2 v;
    const int g = threadIdx.x % 32 / 4, each = task.symmetric ? 8 : 16;
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];"
                 : "=f"(v.x), "=f"(v.y)
                 : "r"(scales + group * task.scale_bytes + each * g + (minimum ? 8 : 0)));
    return v;
  }

  __device__ static void add_scaled(const DecodeTask& task, uint32_t scales, int group,
                                    const float (&products)[B::kSums][4], Sums<kRows>& sums) {
    float2 scale;
    if constexpr (kScales == Scales::any) {
      scale = float_pair(task, scales, group, false);
    } else {
      const int g = threadIdx.x % 32 / 4;
      scale = F16Pieces::value(half_pair(task, scales, group, g, false));
    }
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      sums.values[s][0] += scale.x * products[s][0];
      sums.values[s][1] += scale.x * products[s][1];
      sums.values[s][2] += scale.y * products[s][2];
      sums.values[s][3] += scale.y * products[s][3];
    }
  }

  // Of one group, by arithmetic.
  __device__ static void add_minimum(const DecodeTask& task, uint32_t scales, int group,
                                     const float* input_sums, Sums<kRows>& sums) {
    const float2 minimum = float_pair(task, scales, group, !task.symmetric);
#pragma unroll
    for (int s = 0; s < B::kSums; ++s) {
      const float2 input =
          *reinterpret_cast<const float2*>(input_sums + 8 * s + threadIdx.x % 4 * 2);
      sums.minimums[s][0] += minimum.x * input.x;
      sums.minimums[s][1] += minimum.x * input.y;
      sums.minimums[s][2] += minimum.y * input.x;
      sums.minimums[s][3] += minimum.y * input.y;
    }
  }

  // Of a stage's groups: minimums [16, groups] * sums of inputs [groups, rows].
  __device__ static void add_minimums(const DecodeTask& task, uint32_t scales, int k,
                                      const Inputs<GroupedForm>& x, Sums<kRows>& sums) {
    const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
    const int first = min(2 * t, kStageGroups - 1), second = min(2 * t + 1, kStageGroups - 1);
    const bool own = kScales == Scales::half_minimums;
    const uint32_t a = half_pair(task, scales, group_of(task, first), g, own);
    const uint32_t b = half_pair(task, scales, group_of(task, second), g, own);
    x.multiply_sums(16 * k / kStageColumns, sums.minimums, __byte_perm(a, b, 0x5410),
                    __byte_perm(a, b, 0x7632));
  }
};

}  // namespace dinfer::cuda
