#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// Products of one row with a bf16 or f16 matrix, or of up to Matmul::kDecodeRows rows with a grouped
// one, at the speed at which the matrix can be read.
//
// Rows are cut in panels of 16, columns in `slabs`; an item of work is one panel of one slab.
// Blocks of threads take equal runs of items, slab by slab. A warp owns the same `warp_columns`
// columns of every panel of a slab, so that its part of the inputs stays in registers as the B
// operand of tensor-core instructions, each number as a sum of two 16-bit ones. Weights pass
// through a ring in shared memory, filled ahead of the inputs: before the preceding kernel has
// ended.
struct DecodePlan {
  int warps = 0;  // of a block
  int warp_columns = 0;
  int slabs = 0;
  int blocks = 0;
  int together = 1;  // blocks that a multiprocessor holds: exactly so many
};

// Of a block, of which a multiprocessor holds two, or more smaller ones: as many as the plan says,
// and none of another kernel beside them. With room for more, blocks of two kernels would be dealt
// out unevenly, and each kernel would wait for multiprocessors that got too many: seen to cost a
// third of the bandwidth.
constexpr int kDecodeMostWarps = 8;

// The inputs of a warp take 64 registers a thread.
constexpr int kDecodeColumns(int64_t rows) { return rows == 1 ? 512 : rows <= 8 ? 256 : 128; }

// A warp's ring of stages: how many columns of a panel one holds, and how many there are.
constexpr int kDenseStageColumns = 64, kDenseStages = 6;
constexpr int kGroupedStageColumns(int bits, int64_t rows) {
  return bits == 4 && rows <= 8 ? 256 : 128;
}
constexpr int kGroupedStages(int bits, int64_t rows) { return bits == 4 && rows > 8 ? 8 : 4; }

// Workspace: sums of slabs, and two zeroed counters that each call leaves at zero.
constexpr size_t kDecodePartialBytes = size_t{40} << 20;
constexpr size_t kDecodeCounterBytes = 256;

struct DecodeWorkspace {
  float* partial = nullptr;
  unsigned* counters = nullptr;
};

// Up to this many rows may be of any kind; more must be plain: every block would norm or gate all
// of them, which takes longer than a kernel of its own.
constexpr int64_t kFusedRows = 1;

void multiply_decode(const Stream& stream, const Rows& rows, const PackedMatrix& weight,
                     const DecodeWorkspace& workspace, const Products& out);

}  // namespace dinfer::cuda
