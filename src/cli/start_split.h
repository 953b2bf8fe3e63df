#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "bootstrap/control_plane.h"
#include "checkpoint/model_config.h"
#include "cli/options.h"
#include "device/device.h"
#include "model/weights.h"
#include "placement/placement.h"
#include "placement/split.h"

namespace dinfer {

// What one rank brings to the automatic split.
struct SplitOffer {
  std::string host;
  DeviceKind kind = DeviceKind::cpu;
  uint64_t room = 0;     // bytes for weights and KV cache
  double read_gb_s = 0;  // measured
};

// What a job asks of it.
struct SplitWishes {
  const ModelConfig& config;
  std::function<WeightBytes(const Shard&)> weight_bytes;  // of a rank with these units
  std::function<uint64_t(const Shard&)> kv_block_bytes;
  int64_t kv_blocks = 0;  // to make room for
  CutRules rules;
};

// KV blocks that an automatic split makes room for: those of --kv-blocks, or of a sequence of up to
// 4096 tokens; with what --kv-memory-fraction leaves free beside them.
int64_t split_kv_blocks(const Options& options, int64_t seq_len);

UnitNeeds needs_of(const SplitWishes& wishes);

struct AutomaticSplit {
  Placement placement;  // groups of one rank; a rank may own nothing
  std::string reason;   // for people
};

// Collective, one call on each rank: layers shared out by what the ranks' devices can hold and how
// fast they read. A CPU rank that is the last beside GPUs has only what they have no room for.
// Error(does_not_fit) on all ranks where together they lack the room.
AutomaticSplit split_automatically(ControlPlane& control, Deadline deadline, const SplitOffer& own,
                                   const SplitWishes& wishes);

}  // namespace dinfer
