#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bootstrap/launcher.h"
#include "bootstrap/world.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "cli/options.h"
#include "placement/device_map.h"
#include "placement/placement.h"
#include "quant/quantize.h"

namespace dinfer {

// How the ranks of a job share the model: the same on all ranks.
struct Layout {
  Placement placement;  // of each replica
  std::string mode;     // single, tensor-parallel, layer-map, hybrid
  int tp = 1;           // ranks of a group
  int pp = 1;           // groups of a replica, which own layers one after the other
  int dp = 1;           // replicas: copies of the model; replica r has the tp * pp ranks
                        // from r * tp * pp on
  std::string reason;   // what decided it
  std::vector<DeviceName> devices;  // by rank, where they are named: by a manual mapping, or GPUs
                                    // and the CPU that helps them

  bool by_speed = false;  // which rank owns how many layers is to follow from what they can do

  bool is_mapped() const { return !devices.empty(); }
  // Steps that may be under way at once: one a stage. One alone where the rank that tells the head
  // what was sampled hands it hidden states, too: messages keep their order, and the head takes
  // those of the next step first.
  int depth() const;
  int replica_ranks() const { return static_cast<int>(placement.shards.size()); }
  // Of a rank of the job: its replica, its place there, and what it owns of the model.
  int replica_of(int rank) const { return rank / replica_ranks(); }
  int place_of(int rank) const { return rank % replica_ranks(); }
  const Shard& shard_of(int rank) const {
    return placement.shards[static_cast<size_t>(place_of(rank))];
  }
  // The rank of the job with this place in a replica.
  int rank_at(int place, int replica) const { return replica * replica_ranks() + place; }
};

// Where FFN columns may be cut so that no quantisation group of any layer is. No checkpoint: random
// weights.
int64_t ffn_alignment(const Checkpoint* checkpoint, const ModelConfig& config,
                      const QuantChoice& quant);

// The manual mapping of -n or --topology; none without one. Error(usage) or Error(config) as those
// have it, and where it contradicts another option.
std::optional<DeviceMap> manual_map(const Options& options, const ModelConfig& config);

// Whether options ask for one.
bool asks_for_map(const Options& options);

// What it means for the ranks that a command stands for; none without one.
std::optional<MappedDevices> mapped_devices(const Options& options, const ModelConfig& config);

// What --quant and the selectors of --topology ask for. Error(config) as topology files have it.
QuantChoice wanted_quantization(const Options& options, const ModelConfig& config);

// How matrices may be cut: so that no quantisation group of any layer is. No checkpoint: random
// weights.
CutRules cut_rules(const Options& options, const Checkpoint* checkpoint, const ModelConfig& config,
                   const QuantChoice& quant);

// `sharing`: what the bootstrap chose. Error(config) where ranks, options and model do not go
// together.
Layout decide_layout(const Options& options, const ModelConfig& config, const World& world,
                     Sharing sharing, const CutRules& rules);

// single, tensor-parallel, layer-map or hybrid.
std::string layout_mode(int tp, int pp, int dp);

// Who owns which layers, for a comparison of ranks: "0:L0-15 1:L16-31".
std::string describe_owners(const Placement& placement, int64_t layers);

// What a rank owns: "L0-15", "embed,L3.mlp,L5-6", "head".
std::string units_text(const Shard& shard, int64_t layers);

}  // namespace dinfer
