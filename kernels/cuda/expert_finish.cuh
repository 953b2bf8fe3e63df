#pragma once

#include <type_traits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/expert_products.h"

namespace dinfer::cuda {

// Inner values as f16 are 1/16 of them: they may then be as large as 2^20, and the small ones lose
// less than the largest of a row do.
constexpr float kInnerUnit = 1.0f / 16;

__device__ inline void put_inner(const ExpertProduct& product, int64_t at, float value) {
  if (product.inner_type == Packing::bf16) {
    static_cast<__nv_bfloat16*>(product.inner)[at] = __float2bfloat16_rn(value);
  } else if (product.inner_type == Packing::f16) {
    const float most = 65504.0f, scaled = value * kInnerUnit;
    static_cast<__half*>(product.inner)[at] = __float2half_rn(fminf(fmaxf(scaled, -most), most));
  } else {
    static_cast<float*>(product.inner)[at] = value;
  }
}

// Products of a row of the lower half and the same of the upper half with the slot at `place` of
// the list, whose inputs are of type Number.
template <class Number>
__device__ inline void finish_slot(const ExpertProduct& product, int row, int64_t place,
                                   int64_t slot, float lower, float upper) {
  const bool exists = row < product.half_rows;
  if (product.out) {
    if (!exists) return;
    constexpr float kUnit = std::is_same_v<Number, __half> ? 1.0f / kInnerUnit : 1.0f;
    float* to = product.out + slot * 2 * product.half_rows + row;
    to[0] = lower * kUnit;
    to[product.half_rows] = upper * kUnit;
  } else if (row < product.inner_width) {
    put_inner(product, place * product.inner_width + row,
              exists ? activate(product.activation, lower) * upper : 0.0f);
  }
}

}  // namespace dinfer::cuda
