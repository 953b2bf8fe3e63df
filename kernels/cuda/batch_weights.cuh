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
  __device__ BatchWeights(const BatchTask& task, uint32_t codes, uint32_t scales)
      : codes_(codes),
        scales_(scales),
        group_shift_(task.group_shift),
        group_bytes_(task.group_bytes),
        symmetric_(kScales == BatchScales::half ||
                   (kScales == BatchScales::any && task.symmetric)) {}

  // Operands of the four steps of 16 columns of block `block` of the stage.
  __device__ void load(int block, uint32_t (&operands)[4][4]) const {
    const int lane = threadIdx.x % 32;
    uint4 words[kBits / 4];
#pragma unroll
    for (int i = 0; i < kBits / 4; ++i) {
      words[i] = load_shared(codes_ + 512 * (kBits / 4 * block + i) + 16 * lane);
    }
    const float offset = symmetric_ ? (kBits == 4 ? 8.0f : 128.0f) : 0.0f;
    const __half2 low = __float2half2_rn(-1024.0f - offset);
    const __half2 high = __float2half2_rn(-64.0f - offset);
#pragma unroll
    for (int step = 0; step < 4; ++step) {
      const Affine rows = affine(64 * block + 16 * step);
      __half2 codes[4];  // of rows g, g + 8, g, g + 8
      if constexpr (kBits == 4) {
        const uint32_t w = word(words[0], step), v = w >> 8;
        codes[0] = __hadd2(masked(w, 0x000f000fu), low);
        codes[1] = __hadd2(masked(v, 0x000f000fu), low);
        codes[2] = __hfma2(masked(w, 0x00f000f0u), __float2half2_rn(1.0f / 16), high);
        codes[3] = __hfma2(masked(v, 0x00f000f0u), __float2half2_rn(1.0f / 16), high);
      } else {
        const uint4& two = words[step / 2];
        const uint32_t w = step % 2 == 0 ? two.x : two.z, v = step % 2 == 0 ? two.y : two.w;
        codes[0] = __hadd2(masked(w, 0x00ff00ffu), low);
        codes[1] = __hadd2(masked(v, 0x00ff00ffu), low);
        codes[2] = __hadd2(masked(w >> 8, 0x00ff00ffu), low);
        codes[3] = __hadd2(masked(v >> 8, 0x00ff00ffu), low);
      }
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const __half2 scale = i % 2 == 0 ? rows.scale : rows.upper_scale;
        const __half2 minimum = i % 2 == 0 ? rows.minimum : rows.upper_minimum;
        operands[step][i] =
            bits_of(kScales == BatchScales::half ? __hmul2(codes[i], scale)
                                                 : __hfma2(codes[i], scale, minimum));
      }
    }
  }

 private:
  // Of a group of rows g and g + 8, twice each.
  struct Affine {
    __half2 scale, upper_scale, minimum, upper_minimum;
  };

  __device__ static uint32_t word(const uint4& words, int i) {
    return i == 0 ? words.x : i == 1 ? words.y : i == 2 ? words.z : words.w;
  }

  __device__ static __half2 masked(uint32_t word, uint32_t mask) {
    return half_pair((word & mask) | 0x64006400u);
  }

  __device__ static __half2 half_pair(uint32_t bits) { return *reinterpret_cast<__half2*>(&bits); }

  // Of the column that is so many from the stage's first.
  __device__ Affine affine(int column) const {
    const int g = threadIdx.x % 32 / 4;
    const uint32_t group = scales_ + (column >> group_shift_) * group_bytes_;
    uint32_t scale, minimum = 0;
    if constexpr (kScales == BatchScales::half) {
      asm volatile("ld.shared.u32 %0, [%1];" : "=r"(scale) : "r"(group + 4 * g));
    } else if constexpr (kScales == BatchScales::half_minimums) {
      asm volatile("ld.shared.v2.u32 {%0,%1}, [%2];"
                   : "=r"(scale), "=r"(minimum)
                   : "r"(group + 8 * g));
    } else {
      const uint32_t at = group + (symmetric_ ? 8 : 16) * g;
      scale = rounded_pair(at);
      if (!symmetric_) minimum = rounded_pair(at + 8);
    }
    return {half_pair(__byte_perm(scale, 0, 0x1010)), half_pair(__byte_perm(scale, 0, 0x3232)),
            half_pair(__byte_perm(minimum, 0, 0x1010)), half_pair(__byte_perm(minimum, 0, 0x3232))};
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
