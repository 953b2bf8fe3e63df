#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>

#include <re2/re2.h>

#include "base/error.h"
#include "checkpoint/model_tensors.h"
#include "placement/topology.h"

namespace dinfer {
namespace {

// A model's tensor, and the unit that it is part of.
struct UnitTensor {
  std::string name;
  bool is_matrix = false;
  int64_t unit = 0;
  std::optional<int64_t> layer;  // none: embedding, head
};

UnitTensor unit_tensor(const ModelTensor& tensor, const ModelConfig& config) {
  constexpr std::string_view prefix = "model.layers.";
  UnitTensor result{.name = tensor.name, .is_matrix = tensor.is_matrix()};
  if (!tensor.name.starts_with(prefix)) {
    result.unit =
        tensor.name == "model.embed_tokens.weight" ? unit::kEmbed : unit::head(config.layers);
    return result;
  }
  int64_t layer = 0;
  const char* end = tensor.name.data() + tensor.name.size();
  const char* rest = std::from_chars(tensor.name.data() + prefix.size(), end, layer).ptr;
  const std::string_view module(rest + 1, end);
  const bool post_norm = config.post_norms && module.starts_with("post_attention_layernorm.");
  const bool attention =
      module.starts_with("self_attn.") || module.starts_with("input_layernorm.") || post_norm;
  result.unit = attention ? unit::attention(layer) : unit::mlp(layer);
  result.layer = layer;
  return result;
}

std::vector<UnitTensor> unit_tensors(const ModelConfig& config) {
  std::vector<UnitTensor> tensors;
  for (const ModelTensor& tensor : model_tensors(config))
    tensors.push_back(unit_tensor(tensor, config));
  return tensors;
}

bool matches(const TopologyEntry& entry, const std::string& name) {
  return re2::RE2::PartialMatch(name, *entry.pattern);
}

// A topology held against one model.
class Selection {
 public:
  Selection(const Topology& topology, const ModelConfig& config)
      : topology_(topology), tensors_(unit_tensors(config)) {
    for (const TopologyEntry& entry : topology.entries) check_entry(entry, config);
  }

  const std::vector<UnitTensor>& tensors() const { return tensors_; }

  // The entry that decides on `attribute` of a tensor; nullptr: none does.
  template <class Value>
  const TopologyEntry* by_name(std::optional<Value> TopologyEntry::*attribute,
                               const std::string& name) const {
    return last(attribute, [&](const TopologyEntry& e) { return e.pattern && matches(e, name); });
  }
  template <class Value>
  const TopologyEntry* by_layer(std::optional<Value> TopologyEntry::*attribute,
                                int64_t layer) const {
    return last(attribute, [&](const TopologyEntry& e) {
      return !e.pattern && layer >= e.layers.begin && layer < e.layers.end;
    });
  }

  template <class... Args>
  [[noreturn]] void refuse(const TopologyEntry& entry, fmt::format_string<Args...> format,
                           Args&&... args) const {
    fail(ExitCode::config, "{}:{}: selector {} {}", topology_.file, entry.line, entry.selector,
         fmt::format(format, std::forward<Args>(args)...));
  }

 private:
  template <class Value, class Applies>
  const TopologyEntry* last(std::optional<Value> TopologyEntry::*attribute,
                            const Applies& applies) const {
    const auto& entries = topology_.entries;
    const auto found = std::find_if(entries.rbegin(), entries.rend(), [&](const auto& entry) {
      return (entry.*attribute).has_value() && applies(entry);
    });
    return found == entries.rend() ? nullptr : &*found;
  }

  void check_entry(const TopologyEntry& entry, const ModelConfig& config) const {
    if (!entry.pattern) {
      if (entry.layers.end > config.layers)
        refuse(entry, "goes beyond the model's {} layers: 0-{} are all of them", config.layers,
               config.layers);
      return;
    }
    const bool any = std::ranges::any_of(
        tensors_, [&](const UnitTensor& tensor) { return matches(entry, tensor.name); });
    if (any) return;
    if (config.tied_head && matches(entry, "lm_head.weight"))
      refuse(entry,
             "names a head of its own, which this model lacks: its head is the embedding, "
             "/embed_tokens/, and is where /model\\.norm/ is");
    refuse(entry, "matches none of the model's weights, whose names are like {}",
           tensors_[std::min<size_t>(2, tensors_.size() - 1)].name);
  }

  const Topology& topology_;
  std::vector<UnitTensor> tensors_;
};

// Whom a unit belongs to, and which of its weights and which selector said so first.
struct Owner {
  DeviceName device;
  const UnitTensor* tensor = nullptr;
  const TopologyEntry* entry = nullptr;  // nullptr: the default
};

class UnitOwners {
 public:
  UnitOwners(const Selection& selection, const ModelConfig& config)
      : selection_(selection),
        layers_(config.layers),
        mlp_(config.experts.mixtral_names ? "block_sparse_moe" : "mlp"),
        owners_(static_cast<size_t>(unit::count(config.layers))) {
    // Matrices decide; norms and biases follow them, and decide where a unit has no matrix of its
    // own (a tied head).
    for (const bool matrices : {true, false}) {
      for (const UnitTensor& tensor : selection.tensors())
        if (tensor.is_matrix == matrices) place(tensor);
    }
  }

  std::vector<DeviceName> devices() const {
    std::vector<DeviceName> devices;
    for (const Owner& owner : owners_) devices.push_back(owner.device);
    return devices;
  }

 private:
  void place(const UnitTensor& tensor) {
    Owner& owner = owners_[static_cast<size_t>(tensor.unit)];
    const TopologyEntry* entry = selection_.by_name(&TopologyEntry::device, tensor.name);
    if (owner.tensor && owner.tensor->is_matrix && !tensor.is_matrix && !entry) return;
    if (!entry) entry = selection_.by_layer(&TopologyEntry::device, layer_of(tensor));
    const Owner found{entry ? *entry->device : DeviceName{}, &tensor, entry};
    if (!owner.tensor)
      owner = found;
    else if (owner.device != found.device)
      refuse_split(owner, found);
  }

  // The embedding goes with the first layer, the head with the last.
  int64_t layer_of(const UnitTensor& tensor) const {
    return tensor.layer.value_or(tensor.unit == unit::kEmbed ? 0 : layers_ - 1);
  }

  [[noreturn]] void refuse_split(const Owner& a, const Owner& b) const {
    const bool second = !a.entry || (b.entry && b.entry->pattern);
    const Owner& moved = second ? b : a;
    const Owner& left = second ? a : b;
    selection_.refuse(*moved.entry,
                      "would put {} on {} and leave {} on {}, but {} is owned as a whole: select "
                      "all of it, as by {}",
                      moved.tensor->name, moved.device.text(), left.tensor->name,
                      left.device.text(), unit::name(moved.tensor->unit, layers_),
                      pattern_of(*moved.tensor));
  }

  std::string pattern_of(const UnitTensor& tensor) const {
    if (tensor.unit == unit::kEmbed) return "/embed_tokens/";
    if (tensor.unit == unit::head(layers_)) return "/lm_head/";
    return fmt::format("/layers\\.{}\\.{}\\./", *tensor.layer,
                       tensor.unit == unit::attention(*tensor.layer) ? "self_attn" : mlp_);
  }

  const Selection& selection_;
  int64_t layers_;
  std::string_view mlp_;       // how names of its matrices begin
  std::vector<Owner> owners_;  // by unit
};

std::string module_of(const std::string& name) {
  return name.substr(0, name.size() - std::string_view(".weight").size());
}

// Pairs of a layer's modules that become one matrix in memory.
std::vector<std::pair<std::string, std::string>> stacked_modules(const ModelConfig& config,
                                                                 int64_t layer) {
  const std::string attention = fmt::format("model.layers.{}.self_attn.", layer);
  std::vector<std::pair<std::string, std::string>> pairs{
      {attention + "q_proj", attention + "k_proj"}, {attention + "k_proj", attention + "v_proj"}};
  const std::vector<MlpModules> mlps = mlp_modules(config, layer);
  for (size_t i = 0; i < mlps.size(); ++i) {
    pairs.emplace_back(mlps[i].gate, mlps[i].up);
    if (i == 0) continue;
    pairs.emplace_back(mlps[i - 1].gate, mlps[i].gate);
    pairs.emplace_back(mlps[i - 1].down, mlps[i].down);
  }
  return pairs;
}

}  // namespace

std::optional<DeviceMap> map_topology(const Topology& topology, const ModelConfig& config) {
  const Selection selection(topology, config);
  const bool places = std::ranges::any_of(
      topology.entries, [](const TopologyEntry& entry) { return entry.device.has_value(); });
  if (!places) return std::nullopt;
  return make_device_map(UnitOwners(selection, config).devices(), topology.file);
}

QuantChoice choose_quantization(const Topology& topology, const ModelConfig& config,
                                const QuantSpec& otherwise) {
  const Selection selection(topology, config);
  QuantChoice choice{otherwise};
  std::map<std::string, const TopologyEntry*> deciding;
  for (const UnitTensor& tensor : selection.tensors()) {
    if (!tensor.is_matrix) continue;
    const TopologyEntry* entry = selection.by_name(&TopologyEntry::quant, tensor.name);
    if (!entry && tensor.layer) entry = selection.by_layer(&TopologyEntry::quant, *tensor.layer);
    if (!entry) continue;
    choice.modules[module_of(tensor.name)] = *entry->quant;
    deciding[module_of(tensor.name)] = entry;
  }
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const auto& [a, b] : stacked_modules(config, layer)) {
      if (choice.of(a) == choice.of(b)) continue;
      const auto rank = [&](const std::string& module) {  // who made the difference
        const auto found = deciding.find(module);
        return found == deciding.end() ? 0 : found->second->pattern ? 2 : 1;
      };
      const std::string& odd = rank(a) > rank(b) ? a : b;
      selection.refuse(*deciding.at(odd),
                       "quantises {} otherwise than {}, but the two are one matrix in memory: let "
                       "one selector match both",
                       odd, &odd == &a ? b : a);
    }
  }
  return choice;
}

}  // namespace dinfer
