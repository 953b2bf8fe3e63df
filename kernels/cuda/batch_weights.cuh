#pragma once

#include "kernels/cuda/batch_task.h"
#include "kernels/cuda/tensor_core.cuh"

namespace dinfer::cuda {

// How the scales of a grouped matrix are stored; `any`: f32, symmetric or with minimums.
enum class BatchScales : uint8_t { half, half_minimums, any };

// A panel's part of a stage in shared memory, of which a warp makes f16 operands; pack_kernels.cu
// has the order. Masking codes into the mantissa of 1024 gives 1024 + code, or 1024 + 16 * code for
// the nibbles that stay 4 bits higher; subtracting is exact, and scale * code + minimum is rounded
// once.
template <int kBits, BatchScales kScales>
class BatchWeights {
 public:
  __device__ BatchWeights(const BatchCodes& matrix, uint32_t codes, uint32_t scales)
      : codes_(codes),
        scales_(scales),
        group_shift_(matrix.group_shift),
        group_bytes_(matrix.group_bytes),
        symmetric_(kScales == BatchScales::half ||
                   (kScales == BatchScales::any && matrix.symmetric)) {}

  static constexpr int kHalves = 2 * kBatchStageBlocks(kBits);  // of blocks, in a stage

  // What a lane reads of a stage, all at once.
  struct Raw {
    uint4 words[2];
    uint2 affine[kHalves];  // where scales are f16: a half block has one group
  };

  __device__ Raw read() const {
    Raw raw;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      raw.words[i] = load_shared(codes_ + 512 * i + 16 * (threadIdx.x % 32));
    }
    if constexpr (kScales != BatchScales::any) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) raw.affine[half] = read_affine(32 * half);
    }
    return raw;
  }

  // Operands of two steps of 16 columns: a half block.
  __device__ void operands(const Raw& raw, int half, uint32_t (&operands)[2][4]) const {
    const float offset = symmetric_ ? (kBits == 4 ? 8.0f : 128.0f) : 0.0f;
    const __half2 low = __float2half2_rn(-1024.0f - offset);
    const __half2 high = __float2half2_rn(-64.0f - offset);
    const auto affine = [&](int step) {
      return twice(kScales == BatchScales::any ? read_affine(32 * half + 16 * step)
                                               : raw.affine[half]);
    };
    Affine rows = affine(0);
#pragma unroll
    for (int step = 0; step < 2; ++step) {
      if (kScales == BatchScales::any && step == 1) rows = affine(1);  // groups of 16
#pragma unroll
      for (int upper = 0; upper < 2; ++upper) {
        const uint32_t word = word_of(raw, half, step, upper);
        __half2 first, second;  // pairs of columns
        if constexpr (kBits == 4) {
          first = __hadd2(masked(word, 0x000f000fu), low);
          second = __hfma2(masked(word, 0x00f000f0u), __float2half2_rn(1.0f / 16), high);
        } else {
          first = __hadd2(masked(word, 0x00ff00ffu), low);
          second = __hadd2(masked(word >> 8, 0x00ff00ffu), low);
        }
        operands[step][upper] = bits_of(rows.value(first, upper));
        operands[step][2 + upper] = bits_of(rows.value(second, upper));
      }
    }
  }

 private:
  // Of a group of rows g and g + 8, twice each.
  struct Affine {
    __half2 scales[2], minimums[2];

    __device__ __half2 value(__half2 codes, int upper) const {
      if constexpr (kScales == BatchScales::half) return __hmul2(codes, scales[upper]);
      return __hfma2(codes, scales[upper], minimums[upper]);
    }
  };

  __device__ static Affine twice(uint2 pairs) {
    return {
        {half_pair(__byte_perm(pairs.x, 0, 0x1010)), half_pair(__byte_perm(pairs.x, 0, 0x3232))},
        {half_pair(__byte_perm(pairs.y, 0, 0x1010)), half_pair(__byte_perm(pairs.y, 0, 0x3232))}};
  }

  // The word of rows g, or g + 8.
  __device__ static uint32_t word_of(const Raw& raw, int half, int step, int upper) {
    const uint4& words = raw.words[kBits == 4 ? half / 2 : half];
    if constexpr (kBits == 4) {
      const uint32_t both =
          half % 2 == 0 ? (step == 0 ? words.x : words.y) : (step == 0 ? words.z : words.w);
      return upper == 0 ? both : both >> 8;
    }
    return step == 0 ? (upper == 0 ? words.x : words.y) : (upper == 0 ? words.z : words.w);
  }

  // word & mask | 1024 twice, in one instruction, which the compiler does not make of two
  // constants.
  __device__ static __half2 masked(uint32_t word, uint32_t mask) {
    uint32_t bits;
    asm("lop3.b32 %0, %1, %2, %3, 0xea;" : "=r"(bits) : "r"(word), "r"(mask), "r"(0x64006400u));
    return half_pair(bits);
  }

  __device__ static __half2 half_pair(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }

  // Scales, and minimums, of the group of the column that is so many from the stage's first.
  __device__ uint2 read_affine(int column) const {
    const int g = threadIdx.x % 32 / 4;
    const uint32_t group = scales_ + (column >> group_shift_) * group_bytes_;
    uint2 pairs{};
    if constexpr (kScales == BatchScales::half) {
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(pairs.x) : "r"(group + 4 * g));
    } else if constexpr (kScales == BatchScales::half_minimums) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                   : "=r"(pairs.x), "=r"(pairs.y)
                   : "r"(group + 8 * g));
    } else {
      const uint32_t at = group + (symmetric_ ? 8 : 16) * g;
      pairs.x = rounded_pair(at);
      if (!symmetric_) pairs.y = rounded_pair(at + 8);
    }
    return pairs;
  }

  __device__ static uint32_t rounded_pair(uint32_t at) {
    float2 v;
    asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at));
    return bits_of(__floats2half2_rn(v.x, v.y));
  }

  uint32_t codes_, scales_;
  int group_shift_, group_bytes_;
  bool symmetric_;
};

}  // namespace dinfer::cuda
