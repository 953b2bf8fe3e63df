#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "placement/placement.h"

namespace dinfer {

// A rectangle of one linear module's weight: `module`.weight and `module`.bias are its tensors,
// under Hugging Face's names.
struct ModuleSlice {
  std::string module;
  Range rows;
  Range columns;
  bool rope_rows = false;  // heads of q or k, whose rows the rotation pairs
};

// Slices that make one matrix of a rank, below each other.
using MatrixSlices = std::vector<ModuleSlice>;

struct LayerSlices {
  MatrixSlices qkv;      // [q; k; v], column parallel: heads
  MatrixSlices output;   // row parallel: heads
  MatrixSlices router;   // of layers with experts: whole
  MatrixSlices gate_up;  // [gate; up], column parallel; of each expert
  MatrixSlices down;     // row parallel; of each expert
};

// Which parts of which tensors one rank holds: the one place that knows how modules are named,
// fused and cut.
LayerSlices layer_slices(const ModelConfig& config, const Shard& shard, int64_t layer);
MatrixSlices embedding_slices(const ModelConfig& config, const Shard& shard);
// Those of the embedding where the two are tied.
MatrixSlices head_slices(const ModelConfig& config, const Shard& shard);

// "model.layers.<layer>.<name>"
std::string layer_tensor(int64_t layer, const std::string& name);

}  // namespace dinfer
