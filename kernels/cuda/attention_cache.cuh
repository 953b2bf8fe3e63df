#pragma once

#include "kernels/cuda/attention_tile.cuh"

// Tiles of keys and values in shared memory as right operands of tensor-core products, which are of
// f16 numbers. A thread loads pairs of f16 as they lie side by side; f8 come in fours, so that
// columns change places: of keys, those of the queries do likewise (query_column), of values, those
// of the sums (for_columns).
namespace dinfer::cuda {

// Four f8 as f16: numbers 0 and 1, and 2 and 3.
struct HalfPairs {
  uint32_t low, high;
};

__device__ inline HalfPairs widen(uint32_t four) {
  HalfPairs pairs;
#if __CUDA_ARCH__ >= 890
  asm("{\n"
      ".reg .b16 low, high;\n"
      "mov.b32 {low, high}, %2;\n"
      "cvt.rn.f16x2.e4m3x2 %0, low;\n"
      "cvt.rn.f16x2.e4m3x2 %1, high;\n"
      "}\n"
      : "=r"(pairs.low), "=r"(pairs.high)
      : "r"(four));
#else
  // An f16 has one more bit of exponent, and another bias.
  const auto pair = [](uint32_t upper_bytes) {
    const uint32_t bits = (upper_bytes & 0x80008000u) | (upper_bytes & 0x7f007f00u) >> 1;
    return bits_of(__hmul2(*reinterpret_cast<const __half2*>(&bits), __float2half2_rn(256.0f)));
  };
  pairs = {pair(__byte_perm(four, 0, 0x1404)), pair(__byte_perm(four, 0, 0x3424))};
#endif
  return pairs;
}

// Where a tile of queries has column `column` of a head, for keys of type T.
template <class T>
__device__ inline int query_column(int column) {
  if constexpr (sizeof(T) == 2) return column;
  return (column & ~15) | (column & 2) << 2 | (column & 12) >> 1 | (column & 1);
}

// Sixteen rows of keys x columns [32 pair, 32 pair + 32), in two steps of 16: of each step the
// right operand {r0, r1} of the first eight rows, {r2, r3} of the others.
template <class T, int kDim>
__device__ inline void load_keys(const std::byte* tile, int first_row, int pair, int lane,
                                 Fragments4 (&keys)[2]) {
  const int row = first_row + (lane >> 4) * 8 + (lane & 7), right = (lane >> 3) & 1;
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      keys[i] = load_matrices(tile + tile_offset<T, kDim>(row, (2 * pair + i) * 2 + right));
    }
  } else {
    const Fragments4 fours = load_matrices(tile + tile_offset<T, kDim>(row, 2 * pair + right));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const HalfPairs first = widen(fours.r[i]), other = widen(fours.r[2 + i]);
      keys[i] = {{first.low, first.high, other.low, other.high}};
    }
  }
}

// Sixteen rows of values x columns [32 pair, 32 pair + 32), by sixteen: {r0, r1} and {r2, r3} are
// the right operands of eight columns each.
template <class T, int kDim>
__device__ inline void load_values(const std::byte* tile, int first_row, int pair, int lane,
                                   Fragments4 (&values)[2]) {
  const int row = first_row + ((lane >> 3) & 1) * 8 + (lane & 7), right = lane >> 4;
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      values[i] =
          load_matrices_transposed(tile + tile_offset<T, kDim>(row, (2 * pair + i) * 2 + right));
    }
  } else {
    const Fragments4 fours =
        load_matrices_transposed(tile + tile_offset<T, kDim>(row, 2 * pair + right));
    // Of two rows and two columns; those of a column are to lie side by side.
    const auto columns = [](uint32_t four) { return widen(__byte_perm(four, 0, 0x3120)); };
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const HalfPairs upper = columns(fours.r[2 * i]), lower = columns(fours.r[2 * i + 1]);
      values[i] = {{upper.low, lower.low, upper.high, lower.high}};
    }
  }
}

// What a thread has of row lane / 4 (+ 8 where `half` is 1) of sums of values:
// use(column, sum, next column's) for each two columns.
template <class T, int kDim, class Use>
__device__ inline void for_columns(const float (&sums)[kDim / 8][4], int half, int lane,
                                   const Use& use) {
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    const float* first = sums[2 * step] + 2 * half;
    const float* other = sums[2 * step + 1] + 2 * half;
    if constexpr (sizeof(T) == 2) {
      use(16 * step + lane % 4 * 2, first[0], first[1]);
      use(16 * step + 8 + lane % 4 * 2, other[0], other[1]);
    } else {
      use(16 * step + lane % 4 * 4, first[0], other[0]);
      use(16 * step + lane % 4 * 4 + 2, first[1], other[1]);
    }
  }
}

}  // namespace dinfer::cuda
