#pragma once

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// Products of up to Matmul::kDecodeRows rows with a bf16, f16 or grouped matrix, at the speed at
// which the matrix can be read.
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
};

constexpr int kDecodeMostWarps = 16;  // of a block

// The ring of a warp: stages of kStageBytes of codes or elements.
constexpr int kStageBytes = 1024;
constexpr int kDenseStages = 6;
constexpr int kGroupedStages = 5;

// Workspace of products with matrices within these sizes: `partial` sums, and two zeroed counters
// that each call leaves at zero.
size_t decode_partial_bytes(int64_t weight_rows, int64_t columns);
constexpr size_t kDecodeCounterBytes = 256;

struct DecodeWorkspace {
  float* partial = nullptr;
  unsigned* counters = nullptr;
};

// Up to this many rows may be of any kind; more must be plain.
constexpr int64_t kFusedRows = 4;

DecodePlan plan_decode(const PackedMatrix& weight, int64_t rows, const Stream& stream);

void multiply_decode(const Stream& stream, const Rows& rows, const PackedMatrix& weight,
                     const DecodeWorkspace& workspace, const Products& out);

}  // namespace dinfer::cuda
