#include <gtest/gtest.h>

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <random>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_tensors.h"
#include "placement/topology.h"
#include "tests/unit/placement/small_model.h"

namespace dinfer {
namespace {

ModelConfig model_of(int64_t layers) {
  ModelConfig config = test::small_model(layers);
  config.qkv_bias = true;
  return config;
}

struct RandomEntry {
  std::string selector;
  std::string device;  // as in the file; empty: none
  int bits = 0;        // 0: no isq
};

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  int64_t below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  template <class T>
  T one_of(const std::vector<T>& all) {
    return all[static_cast<size_t>(below(std::ssize(all)))];
  }

 private:
  std::mt19937 random_;
};

std::vector<RandomEntry> random_entries(Dice& dice, int64_t layers) {
  static const std::vector<std::string> patterns{"self_attn", "mlp",     "embed_tokens", "lm_head",
                                                 "proj",      "q_proj",  "down_proj",    "norm",
                                                 "layers",    "gate|up", "bias",         "weight$"};
  std::vector<RandomEntry> entries;
  std::set<std::string> seen;
  for (int64_t i = 1 + dice.below(5); i > 0; --i) {
    RandomEntry entry;
    const int64_t begin = dice.below(layers);
    switch (dice.below(5)) {
      case 0:
        entry.selector = fmt::format("{}", begin);
        break;
      case 1:
        entry.selector = fmt::format("/layers\\.{}\\..*{}/", begin, dice.one_of(patterns));
        break;
      case 2:
        entry.selector = fmt::format("/{}/", dice.one_of(patterns));
        break;
      default:
        entry.selector = fmt::format("{}-{}", begin, begin + 1 + dice.below(layers - begin));
    }
    if (!seen.insert(entry.selector).second) continue;
    const int64_t what = dice.below(3);
    if (what != 0)
      entry.device = dice.one_of<std::string>({"cuda[0]", "cuda[1]", "cuda[2]", "cpu"});
    if (what != 1) entry.bits = dice.below(2) == 0 ? 4 : 8;
    entries.push_back(entry);
  }
  return entries;
}

std::string text_of(const std::vector<RandomEntry>& entries) {
  std::string text;
  for (const RandomEntry& entry : entries) {
    text += entry.selector + ":\n";
    if (!entry.device.empty()) text += fmt::format("  device: {}\n", entry.device);
    if (entry.bits != 0) text += fmt::format("  isq: {}\n", entry.bits);
  }
  return text;
}

// The layer in a weight's name; -1: none.
int64_t layer_of(const std::string& name) {
  static const std::regex layer("^model\\.layers\\.([0-9]+)\\.");
  std::smatch match;
  return std::regex_search(name, match, layer) ? std::stoll(match[1]) : -1;
}

bool is_pattern(const RandomEntry& entry) { return entry.selector[0] == '/'; }

bool names(const RandomEntry& entry, const std::string& weight, int64_t layer) {
  const std::string& s = entry.selector;
  if (is_pattern(entry)) return std::regex_search(weight, std::regex(s.substr(1, s.size() - 2)));
  const size_t dash = s.find('-');
  const int64_t begin = std::stoll(s);
  const int64_t end = dash == std::string::npos ? begin + 1 : std::stoll(s.substr(dash + 1));
  return begin <= layer && layer < end;
}

std::string unit_of(const std::string& weight) {
  const int64_t layer = layer_of(weight);
  if (layer < 0) return weight.find("embed") != std::string::npos ? "embed" : "head";
  const bool attention = weight.find("self_attn") != std::string::npos ||
                         weight.find("input_layernorm") != std::string::npos;
  return fmt::format("L{}.{}", layer, attention ? "attention" : "mlp");
}

// The rules once more, weight by weight. None: not to be accepted.
class Naive {
 public:
  Naive(const std::vector<RandomEntry>& entries, const ModelConfig& config)
      : entries_(entries), tensors_(model_tensors(config)), layers_(config.layers) {
    for (const RandomEntry& entry : entries) {
      bool any = !is_pattern(entry);
      for (const ModelTensor& tensor : tensors_) any |= names(entry, tensor.name, -1);
      matched_ &= any;
    }
  }

  std::optional<std::map<std::string, std::string>> devices() const {
    if (!matched_) return std::nullopt;
    std::map<std::string, std::string> units;
    for (const ModelTensor& tensor : tensors_) {
      if (!tensor.is_matrix()) continue;
      const std::string device = device_of(tensor.name).value_or("cuda[0]");
      const auto [unit, is_new] = units.emplace(unit_of(tensor.name), device);
      if (!is_new && unit->second != device) return std::nullopt;
    }
    for (const ModelTensor& tensor : tensors_) {
      if (tensor.is_matrix()) continue;
      const auto device = device_by_pattern(tensor.name);
      if (device && *device != units.at(unit_of(tensor.name))) return std::nullopt;
    }
    return units;
  }

  std::optional<std::map<std::string, int>> bits() const {
    if (!matched_) return std::nullopt;
    std::map<std::string, int> bits;
    for (const ModelTensor& tensor : tensors_) {
      int found = 0;
      for (const bool patterns : {false, true}) {
        for (const RandomEntry& entry : entries_)
          if (is_pattern(entry) == patterns && entry.bits != 0 &&
              names(entry, tensor.name, layer_of(tensor.name)))
            found = entry.bits;
      }
      bits[tensor.name] = found;
    }
    for (int64_t layer = 0; layer < layers_; ++layer) {
      const auto at = [&](const char* module) {
        return bits.at(fmt::format("model.layers.{}.{}.weight", layer, module));
      };
      if (at("self_attn.q_proj") != at("self_attn.k_proj") ||
          at("self_attn.q_proj") != at("self_attn.v_proj") ||
          at("mlp.gate_proj") != at("mlp.up_proj"))
        return std::nullopt;
    }
    return bits;
  }

 private:
  std::optional<std::string> device_by_pattern(const std::string& weight) const {
    std::optional<std::string> device;
    for (const RandomEntry& entry : entries_)
      if (is_pattern(entry) && !entry.device.empty() && names(entry, weight, -1))
        device = entry.device;
    return device;
  }

  std::optional<std::string> device_of(const std::string& weight) const {
    if (const auto device = device_by_pattern(weight)) return device;
    int64_t layer = layer_of(weight);
    if (layer < 0) layer = unit_of(weight) == "embed" ? 0 : layers_ - 1;
    std::optional<std::string> device;
    for (const RandomEntry& entry : entries_)
      if (!is_pattern(entry) && !entry.device.empty() && names(entry, weight, layer))
        device = entry.device;
    return device;
  }

  const std::vector<RandomEntry>& entries_;
  std::vector<ModelTensor> tensors_;
  int64_t layers_;
  bool matched_ = true;
};

std::string as_in_a_file(const DeviceName& device) {
  return device.cpu ? "cpu" : fmt::format("cuda[{}]", device.ordinal);
}

TEST(TopologyProperty, RandomTopologiesPlaceUnitsAsANaiveReadingSays) {
  Dice dice(1);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 600; ++i) {
    const ModelConfig config = model_of(1 + dice.below(5));
    const std::vector<RandomEntry> entries = random_entries(dice, config.layers);
    const std::string text = text_of(entries);
    SCOPED_TRACE(text);
    const Topology topology = parse_topology(text, "t.yaml");
    const auto expected = Naive(entries, config).devices();
    if (!expected) {
      ++refused;
      EXPECT_THROW(map_topology(topology, config), Error);
      continue;
    }
    const auto map = map_topology(topology, config);
    const bool places =
        std::ranges::any_of(entries, [](const RandomEntry& e) { return !e.device.empty(); });
    ASSERT_EQ(map.has_value(), places);
    if (!map) continue;
    ++accepted;
    for (int64_t unit = 0; unit < unit::count(config.layers); ++unit) {
      const int owner = map->owners[static_cast<size_t>(unit)];
      EXPECT_EQ(as_in_a_file(map->devices[static_cast<size_t>(owner)]),
                expected->at(unit::name(unit, config.layers)));
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_GT(refused, 50);
}

TEST(TopologyProperty, RandomTopologiesQuantiseAsANaiveReadingSays) {
  Dice dice(2);
  int accepted = 0;
  for (int i = 0; i < 600; ++i) {
    const ModelConfig config = model_of(1 + dice.below(5));
    const std::vector<RandomEntry> entries = random_entries(dice, config.layers);
    const std::string text = text_of(entries);
    SCOPED_TRACE(text);
    const Topology topology = parse_topology(text, "t.yaml");
    const auto expected = Naive(entries, config).bits();
    if (!expected) {
      EXPECT_THROW(choose_quantization(topology, config, {}), Error);
      continue;
    }
    ++accepted;
    const QuantChoice choice = choose_quantization(topology, config, {});
    for (const ModelTensor& tensor : model_tensors(config)) {
      if (!tensor.is_matrix()) continue;
      const std::string module = tensor.name.substr(0, tensor.name.rfind('.'));
      EXPECT_EQ(choice.of(module).bits, expected->at(tensor.name)) << module;
    }
  }
  EXPECT_GT(accepted, 100);
}

}  // namespace
}  // namespace dinfer
