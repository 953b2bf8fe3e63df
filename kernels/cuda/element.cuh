#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

// Where the codes of a row and of columns c .. c + 3 (c a multiple of 4) are within a panel's block
// of 64 columns: see pack.cu.
struct CodePlace {
  int64_t word;  // index of the 4-byte word in the matrix
  int shift;     // 4 bits: of the nibbles; 8 bits: unused
};

__host__ __device__ inline CodePlace place_of(const PackedMatrix& m, int64_t row, int64_t column) {
  const int64_t panel = row / kPanel, block = column / kColumnBlock;
  const int upper = static_cast<int>(row % kPanel) / 8, g = static_cast<int>(row) % 8;
  const int step = static_cast<int>(column % kColumnBlock) / 16;
  const int lane = 4 * g + static_cast<int>(column) % 16 / 4;
  const int64_t first = (panel * (m.padded_columns() / kColumnBlock) + block) * (m.bits * 32);
  if (m.bits == 4) return {first + 4 * lane + step, 8 * upper};
  return {first + 128 * (step / 2) + 4 * lane + 2 * (step % 2) + upper, 0};
}

// Element i of four consecutive ones is at these bits of its word (4 bits: of word >> shift).
__host__ __device__ inline int bit_of(int bits, int i) { return 16 * (i % 2) + bits * (i / 2); }

__device__ inline float scale_value(const PackedMatrix& m, int64_t index) {
  if (m.half_scales) return __half2float(reinterpret_cast<const __half*>(m.scales())[index]);
  return reinterpret_cast<const float*>(m.scales())[index];
}

// What codes of a group mean: scale * (code - offset) + minimum.
struct Affine {
  float scale, minimum;
  int offset;
};

__device__ inline Affine affine_of(const PackedMatrix& m, int64_t row, int64_t column) {
  const int64_t group = row / kPanel * m.padded_groups() + column / m.group;
  const int64_t pair = group * 8 + row % 8, upper = row % kPanel / 8;
  if (m.symmetric) return {scale_value(m, 2 * pair + upper), 0.0f, m.bits == 4 ? 8 : 128};
  return {scale_value(m, 4 * pair + upper), scale_value(m, 4 * pair + 2 + upper), 0};
}

// The value of one element; column < padded_columns.
__device__ inline float element(const PackedMatrix& m, int64_t row, int64_t column) {
  const int64_t at = row * m.padded_columns() + column;
  switch (m.packing) {
    case Packing::f32:
      return reinterpret_cast<const float*>(m.data)[at];
    case Packing::f16:
      return __half2float(reinterpret_cast<const __half*>(m.data)[at]);
    case Packing::bf16:
      return __bfloat162float(reinterpret_cast<const __nv_bfloat16*>(m.data)[at]);
    case Packing::grouped:
      break;
  }
  const CodePlace place = place_of(m, row, column / 4 * 4);
  const uint32_t word = reinterpret_cast<const uint32_t*>(m.data)[place.word];
  const int bit = place.shift + bit_of(m.bits, static_cast<int>(column % 4));
  // With 4 bits, the rows g + 8 are 8 bits above the rows g.
  const int code = static_cast<int>(word >> bit) & ((1 << m.bits) - 1);
  const Affine affine = affine_of(m, row, column);
  return affine.scale * static_cast<float>(code - affine.offset) + affine.minimum;
}

}  // namespace dinfer::cuda
