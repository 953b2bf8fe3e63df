#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// Products of a grouped matrix with more rows than a decoding step of few sequences has, on GPUs
// with warpgroups' products (Stream::warpgroups).
//
// The matrix is cut in tiles of kBatchTile rows, the input rows in tiles of up to 128, the columns
// in `slabs`; an item of work is one tile of one slab with one tile of inputs. Four warps of a
// block bring codes, scales and inputs to shared memory; four groups of four make f16 numbers of
// the codes in registers, and multiply them. Where there are several slabs, all blocks then add up
// their sums, in the slabs' order.
constexpr int64_t kBatchTile = 256;

// Inputs of a call as the kernel reads them: rows of f16 numbers times a power of two that brings
// the row's largest near 2^15, in the order in which they lie in shared memory; the factors undo
// that.
struct BatchInputs {
  std::byte* values = nullptr;
  float* factors = nullptr;
};

// Rows of a tile of inputs that takes part of `rows` rows, and how many such tiles there are.
constexpr int64_t batch_tiles(int64_t rows) { return (rows + 127) / 128; }
constexpr int64_t batch_tile_rows(int64_t rows) {
  const int64_t even = (rows + batch_tiles(rows) - 1) / batch_tiles(rows);
  return even <= 32 ? 32 : even <= 64 ? 64 : 128;
}

// Bytes of the values and factors of up to `rows` rows of up to `columns` padded columns.
constexpr size_t batch_input_bytes(int64_t rows, int64_t columns) {
  return static_cast<size_t>(batch_tiles(rows) * 128) * (2 * columns + sizeof(float));
}

// Memory for partial sums, and two zeroed counters that each call leaves at zero.
struct BatchWorkspace {
  float* partial = nullptr;
  size_t partial_bytes = 0;  // at least 32 MiB
  unsigned* counters = nullptr;
};

// What is done to the rows, as inputs for matrices with `width` padded columns.
void prepare_batch(const Stream& stream, const Rows& rows, int64_t width, const BatchInputs& out);

void multiply_batch(const Stream& stream, int64_t rows, const BatchInputs& inputs,
                    const PackedMatrix& weight, const BatchWorkspace& workspace,
                    const Products& out);

}  // namespace dinfer::cuda
