#pragma once

#include <cstdint>

#include "kernels/cpu/activations.h"
#include "kernels/cpu/packed_matrix.h"

namespace dinfer::cpu {

// Where products go: out[row * stride + weight row], plus the weight row's bias if there is one.
struct Products {
  float* data = nullptr;
  int64_t stride = 0;
  const float* bias = nullptr;
};

// The products of all rows with the panels [begin, end) of `weight`. Each product is summed in an
// order that depends on the weight alone, so a row gives the same bits in any batch and with any
// number of threads.

// Integer arithmetic within blocks, f32 across them. `weight` is grouped, x.block ==
// weight.block(), x.tile 1 or, where multiplies_tiles(), kTileRows.
void multiply_quantized(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin,
                        int64_t end, const Products& out);

// f32 sums of products of bf16 numbers. `weight` is bf16 or f16; only where multiplies_tiles().
void multiply_split(const PackedMatrix& weight, const SplitRows& x, int64_t begin, int64_t end,
                    const Products& out);

// f32 arithmetic on the values that the weight stands for. x [count, stride].
void multiply_f32(const PackedMatrix& weight, const float* x, int64_t count, int64_t stride,
                  int64_t begin, int64_t end, const Products& out);

// The instruction set in use, in Highway's names; whether there are tiles (AMX) beside it.
const char* matmul_target();
bool multiplies_tiles();

}  // namespace dinfer::cpu
