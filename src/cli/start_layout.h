#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bootstrap/world.h"
#include "checkpoint/model_config.h"
#include "cli/options.h"
#include "placement/device_map.h"
#include "placement/placement.h"

namespace dinfer {

// How the ranks of a job share the model: the same on all ranks.
struct Layout {
  Placement placement;
  std::string mode;                 // single, tensor-parallel, layer-map, hybrid
  int tp = 1;                       // ranks of a group
  int pp = 1;                       // groups, which own layers one after the other
  std::string reason;               // what decided it
  std::vector<DeviceName> devices;  // by rank, where a manual mapping names them

  bool is_mapped() const { return !devices.empty(); }
};

// The manual mapping of -n or --topology; none without one. Error(usage) or Error(config) as those
// have it, and where it contradicts another option.
std::optional<DeviceMap> manual_map(const Options& options, const ModelConfig& config);

// `by_layers`: each rank is to own some of the layers, as long as no option says otherwise.
// Error(config) where ranks, options and model do
// not go together.
Layout decide_layout(const Options& options, const ModelConfig& config, const World& world,
                     bool by_layers, const CutRules& rules);

// Who owns which layers, for a comparison of ranks: "0:L0-15 1:L16-31".
std::string describe_owners(const Placement& placement, int64_t layers);

// What a rank owns: "L0-15", "embed,L3.mlp,L5-6", "head".
std::string units_text(const Shard& shard, int64_t layers);

}  // namespace dinfer
