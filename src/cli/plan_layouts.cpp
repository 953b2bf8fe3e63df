#include "cli/plan_layouts.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <fmt/ranges.h>

#include "base/shell_word.h"
#include "checkpoint/model_files.h"
#include "cli/bench_shapes.h"
#include "cli/start_layout.h"
#include "cli/start_offload.h"
#include "cli/start_split.h"
#include "model/kv_cache.h"
#include "model/transformer.h"
#include "model/weights.h"
#include "placement/split.h"

namespace dinfer {
namespace {

constexpr int kPlainBits = 0;

std::string quant_options(const QuantChoice& quant) {
  return quant.otherwise.bits == kPlainBits ? "" : fmt::format(" --quant {}", quant.otherwise.bits);
}

std::string topology_option(const std::string& file) { return "--topology " + shell_word(file); }

std::vector<int> first_devices(int count) {
  std::vector<int> devices(static_cast<size_t>(count));
  std::iota(devices.begin(), devices.end(), 0);
  return devices;
}

// Ranks that share the layout: GPUs, or those of the CPU where there is none.
int ranks_of(const PlannedMachines& machines) {
  const int gpus = machines.gpus();
  return gpus > 0 ? gpus : static_cast<int>(machines.devices.size());
}

struct GroupSizes {
  int tp = 1, pp = 1, dp = 1;
  int64_t ranks() const { return int64_t{tp} * pp * dp; }
};

LayoutChoice grid(const PlannedModel& model, const GroupSizes& sizes, const QuantChoice& quant) {
  const auto [tp, pp, dp] = sizes;
  LayoutChoice candidate{.mode = layout_mode(tp, pp, dp), .tp = tp, .pp = pp, .dp = dp};
  candidate.placement = pipeline(model.config(), tp, pp, model.rules(quant));
  candidate.devices = first_devices(tp * pp * dp);
  const bool is_even = std::ranges::count(tensor_parallel_sizes(model.config(), tp), tp) > 0;
  candidate.options = fmt::format("--tp {}{}{}{}{}", tp, pp > 1 ? fmt::format(" --pp {}", pp) : "",
                                  dp > 1 ? fmt::format(" --dp {}", dp) : "",
                                  is_even ? "" : " --uneven-tp", model.options_of(quant));
  candidate.quant = quant;
  return candidate;
}

// The device that a mapping names, among the planned ones: those of one machine.
int device_named(const DeviceName& name, const DeviceMap& map, const PlannedMachines& machines) {
  const auto is_here = [](const PlannedDevice& device) { return device.node == 0; };
  const int count = static_cast<int>(std::ranges::count_if(machines.devices, is_here));
  const bool has_cpu = machines.devices[static_cast<size_t>(count - 1)].kind.cpu;
  const bool gpus = machines.gpus() > 0;
  if (!name.cpu) check_devices(map, gpus && has_cpu ? count - 1 : count);
  if (name.cpu && !has_cpu)
    fail(ExitCode::config, "{} places layers on the CPU, which --devices does not name: add ,cpu",
         map.source);
  return name.cpu ? count - 1 : name.ordinal;
}

LayoutChoice mapped(const PlannedModel& model, const PlannedMachines& machines,
                    const DeviceMap& map, std::string options, const QuantChoice& quant) {
  LayoutChoice candidate{.mode = map.devices.size() > 1 ? "layer-map" : "single",
                         .pp = static_cast<int>(map.devices.size()),
                         .options = std::move(options),
                         .quant = quant};
  std::vector<std::vector<int>> groups;
  for (const DeviceName& name : map.devices) {
    groups.push_back({static_cast<int>(groups.size())});
    candidate.devices.push_back(device_named(name, map, machines));
  }
  candidate.placement = place(model.config(), groups, map.owners, model.rules(quant));
  return candidate;
}

// "0:20;cpu:12"
std::string list_of(const DeviceMap& map) {
  std::vector<std::string> entries;
  for (size_t u = 1; u + 1 < map.owners.size();) {
    const size_t begin = u;
    while (u + 1 < map.owners.size() && map.owners[u] == map.owners[begin]) ++u;
    const DeviceName& name = map.devices[static_cast<size_t>(map.owners[begin])];
    entries.push_back(
        fmt::format("{}:{}", name.cpu ? "cpu" : fmt::to_string(name.ordinal), (u - begin) / 2));
  }
  return fmt::format("{}", fmt::join(entries, ";"));
}

std::optional<LayoutChoice> automatic(const Options& options, const PlannedModel& model,
                                      const PlannedMachines& machines, const QuantChoice& quant) {
  const UnitNeeds needs = split_needs(options, model, quant);
  const bool gpus = machines.gpus() > 0;
  const Shard whole = tensor_parallel(model.config(), 1, model.rules(quant)).shards[0];
  const uint64_t activations = Transformer::activation_bytes(
      model.config(), whole, planned_limits(options, model.config(), gpus));
  std::vector<SplitDevice> devices;
  for (const PlannedDevice& device : machines.devices) {
    devices.push_back(
        {.name = {.cpu = gpus && device.kind.cpu,
                  .ordinal = device.kind.cpu && gpus ? 0 : static_cast<int>(devices.size())},
         .room = device.free - std::min(activations, device.free),
         .read_gb_s = device.kind.read_gb_s,
         .layer_us = layer_time(device.kind),
         .handover_us = handover_time(0, device.kind.linked, true)});
  }
  try {
    const Split split = split_layers(needs, devices);
    const bool first_alone = split.map.devices == std::vector<DeviceName>{devices[0].name};
    if (first_alone) return grid(model, {}, quant);
    LayoutChoice candidate =
        mapped(model, machines, split.map,
               fmt::format("-n \"{}\"{}", list_of(split.map), model.options_of(quant)), quant);
    candidate.note = split.reason;
    return candidate;
  } catch (const Error&) {
    return std::nullopt;  // does not fit: the smaller forms may
  }
}

// Whether a start shares out layers without being asked for groups.
bool shares_layers(const Options& options, const PlannedMachines& machines) {
  const bool without_nccl = machines.gpus() > 1 && machines.nodes == 1 && !machines.nccl;
  return options.mode == "layers" || (options.mode == "auto" && without_nccl);
}

// Whether it lets the CPU help the only GPU.
bool adds_cpu(const Options& options, const PlannedMachines& machines) {
  if (options.mode != "auto" || machines.gpus() != 1 || !machines.devices.back().kind.cpu)
    return false;
  return is_too_large(options, {{machines.devices[0].kind.memory}});
}

// As decide_layout has them for as many ranks as there are devices, but the most of these that the
// model's heads divide among.
GroupSizes sizes_for(const Options& options, const PlannedModel& model,
                     const PlannedMachines& machines) {
  const int ranks = ranks_of(machines);
  GroupSizes sizes{.tp = options.tp, .pp = options.pp, .dp = std::max(options.dp, 1)};
  const int own = std::max(1, ranks / sizes.dp);  // of a replica
  if (sizes.pp == 0)
    sizes.pp = shares_layers(options, machines) ? std::max(1, own / std::max(sizes.tp, 1)) : 1;
  if (sizes.tp == 0) sizes.tp = model.tensor_parallel_sizes(std::max(1, own / sizes.pp)).back();
  if (sizes.ranks() > ranks)
    fail(ExitCode::config, "--tp {} x --pp {} x --dp {} take {} ranks, there are {} devices: {}",
         sizes.tp, sizes.pp, sizes.dp, sizes.ranks(), ranks, machines.text);
  return sizes;
}

}  // namespace

StepLimits planned_limits(const Options& options, const ModelConfig& config, bool gpus) {
  const int64_t rows = options.max_batch_tokens > 0 ? options.max_batch_tokens
                       : gpus                       ? kGpuBatchTokens
                                                    : kCpuBatchTokens;
  return {.rows = rows,
          .logit_rows = std::min<int64_t>(options.max_seqs, rows),
          .positions = wanted_seq_len(options, config)};
}

PlannedModel::PlannedModel(const Options& options)
    : name_(options.shape.empty() ? options.model : options.shape),
      topology_(options.topology),
      heads_(options.uneven_tp ? HeadRule::uneven : HeadRule::even),
      kv_type_(wanted_kv_type(options).value_or(KvType::f16)) {
  if (options.shape.empty()) {
    const ModelFiles files = locate_model(options.model, options.revision);
    checkpoint_ = open_checkpoint(files);
    config_ = read_model_config(files);
    check_tensors(*checkpoint_, config_);
  } else {
    config_ = published_shape(options.shape);
  }
  quant_ = wanted_quantization(options, config_);
}

std::string PlannedModel::options_of(const QuantChoice& quant) const {
  return (quant.modules.empty() ? "" : " " + topology_option(topology_)) + quant_options(quant);
}

bool PlannedModel::is_plain() const {
  return !checkpoint_ || std::ranges::any_of(checkpoint_->tensors(), [](const TensorInfo& tensor) {
    return tensor.shape.size() == 2 && stored_group(tensor) == 0;
  });
}

WeightBytes PlannedModel::weight_bytes(const Shard& shard, const QuantChoice& quant) const {
  return checkpoint_ ? planned_weight_bytes(*checkpoint_, config_, shard, quant)
                     : random_weight_bytes(config_, shard, quant);
}

CutRules PlannedModel::rules(const QuantChoice& quant) const {
  return {ffn_alignment(checkpoint_.get(), config_, quant), heads_};
}

std::vector<int> PlannedModel::tensor_parallel_sizes(int most) const {
  return dinfer::tensor_parallel_sizes(config_, most, heads_);
}

UnitNeeds split_needs(const Options& options, const PlannedModel& model, const QuantChoice& quant) {
  const ModelConfig& config = model.config();
  return needs_of(
      {.config = config,
       .weight_bytes = [&](const Shard& shard) { return model.weight_bytes(shard, quant); },
       .kv_block_bytes =
           [&](const Shard& shard) {
             return KvCache::bytes_per_block(config, shard, model.kv_type(), options.kv_block_size);
           },
       .kv_blocks = split_kv_blocks(options, wanted_seq_len(options, config)),
       .rules = model.rules(quant)});
}

int nodes_of(const LayoutChoice& layout, const PlannedMachines& machines) {
  std::set<int> nodes;
  for (const int device : layout.devices)
    nodes.insert(machines.devices[static_cast<size_t>(device)].node);
  return static_cast<int>(nodes.size());
}

LayoutChoice chosen_layout(const Options& options, const PlannedModel& model,
                           const PlannedMachines& machines) {
  if (const auto map = manual_map(options, model.config())) {
    const QuantChoice& quant = model.quant();
    std::string by =
        options.device_layers.empty()
            ? topology_option(options.topology) + quant_options(quant)
            : fmt::format("-n \"{}\"{}", options.device_layers, model.options_of(quant));
    return mapped(model, machines, *map, std::move(by), quant);
  }
  const bool says_groups = options.tp > 0 || options.pp > 0 || options.dp > 1;
  const bool splits = shares_layers(options, machines) && machines.nodes == 1;
  if (!says_groups && (splits || adds_cpu(options, machines)))
    if (auto candidate = automatic(options, model, machines, model.quant()))
      return *std::move(candidate);
  const GroupSizes sizes = sizes_for(options, model, machines);
  LayoutChoice candidate = grid(model, sizes, model.quant());
  const int ranks = ranks_of(machines);
  if (sizes.ranks() < ranks)
    candidate.note =
        fmt::format("{} of {} devices{}", sizes.ranks(), ranks,
                    options.tp > 0 ? "" : ": the most that the model's heads divide among");
  return candidate;
}

std::vector<LayoutChoice> other_layouts(const Options& options, const PlannedModel& model,
                                        const PlannedMachines& machines,
                                        const LayoutChoice& chosen) {
  // A file that places layers goes with no other layout.
  const bool placed = !options.topology.empty() && manual_map(options, model.config());
  std::vector<QuantChoice> forms{placed ? QuantChoice(model.quant().otherwise) : model.quant()};
  if (options.quant == 0 && model.is_plain())
    for (const int bits : {8, 4}) {
      forms.push_back(forms.front());
      forms.back().otherwise.bits = bits;
    }
  const int ranks = ranks_of(machines);
  std::vector<LayoutChoice> others;
  const auto add = [&](LayoutChoice candidate) {
    const auto is_same = [&](const LayoutChoice& o) { return o.options == candidate.options; };
    if (!is_same(chosen) && std::ranges::none_of(others, is_same))
      others.push_back(std::move(candidate));
  };
  for (const QuantChoice& quant : forms) {
    for (const int tp : model.tensor_parallel_sizes(ranks)) {
      add(grid(model, {.tp = tp}, quant));
      const int groups = ranks / tp;
      if (groups == 1 || tp * groups != ranks) continue;
      if (groups <= model.config().layers) add(grid(model, {.tp = tp, .pp = groups}, quant));
      add(grid(model, {.tp = tp, .dp = groups}, quant));
    }
    if (machines.nodes > 1 || machines.devices.size() < 2) continue;
    if (auto candidate = automatic(options, model, machines, quant)) add(std::move(*candidate));
  }
  return others;
}

}  // namespace dinfer
