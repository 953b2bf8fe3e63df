#pragma once

#include "kernels/cuda/matmul_batch.h"

namespace dinfer::cuda {

constexpr int kBatchPanels = static_cast<int>(kBatchTile / kPanel);

// Columns of a stage: 1 KiB of each panel's codes.
constexpr int kBatchStageBlocks(int bits) { return bits == 4 ? 2 : 1; }
constexpr int kBatchCodeBytes = 1024;
constexpr int kBatchMostStages = 12;

// A grouped matrix as small numbers that need no division. A "block" of columns is kColumnBlock of
// them.
struct BatchCodes {
  const std::byte* codes = nullptr;
  const std::byte* scales = nullptr;
  int64_t panel_code_bytes = 0;
  int panels = 0, blocks = 0;
  int group_shift = 0;  // log2 of the group
  int groups = 0;       // of a row
  int group_bytes = 0;  // scales and minimums of a group of a panel
  bool symmetric = true;

  static BatchCodes of(const PackedMatrix& m) {
    BatchCodes codes{.codes = m.data,
                     .scales = m.scales(),
                     .panel_code_bytes = static_cast<int64_t>(m.panel_code_bytes()),
                     .panels = static_cast<int>(m.panels()),
                     .blocks = static_cast<int>(m.padded_columns() / kColumnBlock),
                     .groups = static_cast<int>(m.padded_groups()),
                     .group_bytes = static_cast<int>(m.scale_bytes()),
                     .symmetric = m.symmetric};
    while (1 << codes.group_shift < m.group) ++codes.group_shift;
    return codes;
  }

  // Scales of a panel's part of a stage.
  __host__ __device__ int stage_scale_bytes(int bits) const {
    const int groups_of_stage =
        kBatchStageBlocks(bits) * static_cast<int>(kColumnBlock) >> group_shift;
    return (groups_of_stage > 0 ? groups_of_stage : 1) * group_bytes;
  }
  __host__ __device__ int stages_of_line(int bits) const {
    return (blocks + kBatchStageBlocks(bits) - 1) / kBatchStageBlocks(bits);
  }
};

// What multiply_batch() hands to its kernel.
struct BatchTask : BatchCodes {
  BatchInputs inputs;
  BatchWorkspace workspace;
  Products out;
  int rows = 0;         // of the inputs
  int weight_rows = 0;  // and of the matrix
  int row_tiles = 0, input_tiles = 0, slabs = 1;
  int stages = 0;  // of the ring

  // Codes, scales and inputs of `tile_rows` rows.
  __host__ __device__ int stage_bytes(int bits, int tile_rows) const {
    const int inputs_of_stage =
        kBatchStageBlocks(bits) * static_cast<int>(kColumnBlock) * 2 * tile_rows;
    return kBatchPanels * (kBatchCodeBytes + stage_scale_bytes(bits)) + inputs_of_stage;
  }
  __host__ __device__ int items() const { return row_tiles * slabs * input_tiles; }
};

// One file each, so that they compile side by side.
void batch_4_bits(const Stream& stream, const BatchTask& task, bool half_scales);
void batch_8_bits(const Stream& stream, const BatchTask& task, bool half_scales);

}  // namespace dinfer::cuda
