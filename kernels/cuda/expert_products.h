#pragma once

#include "base/activation.h"
#include "kernels/cuda/batch_task.h"
#include "kernels/cuda/expert_lists.h"

namespace dinfer::cuda {

// Products of the slots with their experts' matrices, of which a grid of blocks takes tiles of
// slots times panels of rows, always the same panels of a matrix's lower and upper half. Blocks
// find their tile in the list; those that have none end at once.
//
// A block's warps multiply by tensor cores. A warp has two panels, and 64 or 128 columns at a time
// (a unit), which it brings to shared memory by itself; with tiles of few slots, several warps
// share the columns of the same panels, so that there are many blocks to read weights, and with
// tiles of many slots, all warps have panels of their own and share the inputs.
//
// Tiles of up to so many slots, for mean numbers of slots of an expert up to those given: more
// tiles than one of an expert would read its weights once more.
constexpr int kExpertTile = 8, kLargerExpertTile = 32, kLargestExpertTile = 128;
constexpr int kSlotsForTile = 4, kSlotsForLargerTile = 20;

struct ExpertProduct {
  // The stack's matrix; of a dense one, `codes` are its numbers and of the rest only `blocks`
  // counts.
  BatchCodes weight;
  Packing packing = Packing::bf16;
  bool half_scales = false;
  int bits = 0;
  int half_rows = 0;    // rows of half an expert's matrix
  int half_panels = 0;  // of these, when padded
  ExpertLists lists;
  int chosen = 0;
  int tile_rows = 0;
  int most_tiles = 0;
  const void* inputs = nullptr;  // rows as wide as the weight's, in its type or f16 (f32 for f32)

  // Either: inputs are by row, and the inner values, activation(lower) * upper, go to
  // inner [list of slots, inner_width] in `inner_type`, zeros past half_rows.
  // Or, where out is not null: inputs are those inner values, and out [slots, 2 * half_rows].
  Activation activation = Activation::silu;
  void* inner = nullptr;
  Packing inner_type = Packing::bf16;
  int inner_width = 0;
  float* out = nullptr;

  // Panels of a half that are to be gone through.
  __host__ __device__ int panels() const { return out ? half_panels : inner_width / 16; }
};

void multiply_experts(const Stream& stream, const ExpertProduct& product);

// One file each, so that they compile side by side.
void multiply_experts_f32(const Stream& stream, const ExpertProduct& product);
void multiply_experts_16_bits(const Stream& stream, const ExpertProduct& product);
void multiply_experts_4_bits(const Stream& stream, const ExpertProduct& product);
void multiply_experts_8_bits(const Stream& stream, const ExpertProduct& product);

// out [rows, columns] = or += the rows' slots times their weights, in the order of their places.
// slot_values: [rows * chosen, columns].
void sum_slots(const Stream& stream, const float* slot_values, const float* weights, int64_t rows,
               int chosen, int64_t columns, bool add, float* out);

}  // namespace dinfer::cuda
