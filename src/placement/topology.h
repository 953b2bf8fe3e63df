#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "placement/device_map.h"
#include "quant/quantize.h"

namespace re2 {
class RE2;
}

namespace dinfer {

// What one selector of a topology file says of the weights that it names: those of some layers, or
// those whose names a regular expression (RE2's syntax) matches anywhere.
struct TopologyEntry {
  std::string selector;  // as written
  int line = 0;          // from 1
  Range layers;          // where there is no pattern
  std::shared_ptr<const re2::RE2> pattern;
  std::optional<DeviceName> device;
  std::optional<QuantSpec> quant;  // isq
};

// A topology file: a YAML map of selectors (`0-8`, end exclusive; `5`; `/regex/`) to maps of device
// (cuda[i] or cpu) and isq. Later entries win over earlier ones, regular expressions over layers.
struct Topology {
  std::string file;
  std::vector<TopologyEntry> entries;
};

// Whatever is wrong with the file is an Error(config) that names file and line and shows what would
// be right.
Topology read_topology(const std::filesystem::path& path);
Topology parse_topology(const std::string& text, const std::string& file);

// Who owns each unit; none where no selector names a device. What no selector places is on cuda[0],
// but the embedding goes with the first layer, the head with the last. Norms and biases go with the
// matrices of their unit. Error(config) with file and line: layers that the model lacks, a regular
// expression that matches none of its weights or would split a unit.
std::optional<DeviceMap> map_topology(const Topology& topology, const ModelConfig& config);

// The quantisation of each matrix that a selector gives one, `otherwise` for all others. Same
// errors; also where matrices that are stored as one (q, k and v; gate and up) would differ.
QuantChoice choose_quantization(const Topology& topology, const ModelConfig& config,
                                const QuantSpec& otherwise);

}  // namespace dinfer
