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

// Half of a multiprocessor's registers and shared memory for a block, so that the next kernel's
// fits beside it: 8 warps, whose inputs take 64 registers a thread, and a ring of about 12 KiB a
// warp.
constexpr int kDecodeMostWarps = 8;
constexpr int kDecodeColumns(int64_t rows) { return rows <= 4 ? 512 : rows <= 8 ? 256 : 128; }
constexpr int kDenseStages = 6, kDenseStageBytes = 2048;
constexpr int kGroupedStages = 8, kGroupedStageBytes = 1024;  // and scales

// Workspace: sums of slabs, and two zeroed counters that each call leaves at zero.
constexpr size_t kDecodePartialBytes = size_t{40} << 20;
constexpr size_t kDecodeCounterBytes = 256;

struct DecodeWorkspace {
  float* partial = nullptr;
  unsigned* counters = nullptr;
};

// Up to this many rows may be of any kind; more must be plain.
constexpr int64_t kFusedRows = 4;

void multiply_decode(const Stream& stream, const Rows& rows, const PackedMatrix& weight,
                     const DecodeWorkspace& workspace, const Products& out);

}  // namespace dinfer::cuda
