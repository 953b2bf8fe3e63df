#include "cli/plan_layouts.h"

#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include "checkpoint/model_files.h"
#include "cli/bench_shapes.h"
#include "cli/start_layout.h"
#include "cli/start_offload.h"
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
  candidate.options = fmt::format("--tp {}{}{}{}", tp, pp > 1 ? fmt::format(" --pp {}", pp) : "",
                                  dp > 1 ? fmt::format(" --dp {}", dp) : "", quant_options(quant));
  candidate.quant = quant;
  return candidate;
}

// The device that a mapping names, among the planned ones.
int device_named(const DeviceName& name, const DeviceMap& map, const PlannedMachines& machines) {
  const int gpus = machines.gpus();
  const int count = static_cast<int>(machines.devices.size());
  if (!name.cpu) check_devices(map, gpus > 0 ? gpus : count);
  if (name.cpu && !machines.devices.back().kind.cpu)
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

// A shard's part that is of some units alone.
Shard restricted(Shard shard, Range units) {
  std::erase_if(shard.units, [&](Range& range) {
    range = {std::max(range.begin, units.begin), std::min(range.end, units.end)};
    return range.begin >= range.end;
  });
  return shard;
}

// What the automatic split needs to know of each unit.
UnitNeeds needs_of(const Options& options, const PlannedModel& model, const QuantChoice& quant) {
  const ModelConfig& config = model.config();
  const Shard whole = tensor_parallel(config, 1, model.rules(quant)).shards[0];
  const int64_t tokens =
      std::min(wanted_seq_len(options, config), kPlannedPrompt + kPlannedAnswer) * options.max_seqs;
  UnitNeeds needs;
  for (int64_t u = 0; u < unit::count(config.layers); ++u) {
    const Shard shard = restricted(whole, {u, u + 1});
    const WeightBytes bytes = model.weight_bytes(shard, quant);
    needs.weights.push_back(bytes.all());
    needs.reads.push_back(
        u == unit::kEmbed ? 0 : static_cast<uint64_t>(bytes.read_by(1, config.experts)));
    needs.kv.push_back(
        static_cast<uint64_t>(tokens) *
        KvCache::bytes_per_block(config, shard, model.kv_type(), options.kv_block_size) /
        static_cast<uint64_t>(options.kv_block_size));
  }
  return needs;
}

std::optional<LayoutChoice> automatic(const Options& options, const PlannedModel& model,
                                      const PlannedMachines& machines, const QuantChoice& quant) {
  const UnitNeeds needs = needs_of(options, model, quant);
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
    if (split.map.devices.size() == 1) return std::nullopt;  // --tp 1 says it
    LayoutChoice candidate =
        mapped(model, machines, split.map,
               fmt::format("-n \"{}\"{}", list_of(split.map), quant_options(quant)), quant);
    candidate.note = split.reason;
    return candidate;
  } catch (const Error&) {
    return std::nullopt;  // does not fit: the smaller forms may
  }
}

// Whether a start lets the CPU help the GPUs without being asked.
bool adds_cpu(const Options& options, const PlannedMachines& machines) {
  const int gpus = machines.gpus();
  const bool by_layers = options.mode == "layers" || (options.mode == "auto" && gpus == 1);
  if (!by_layers || gpus == 0 || !machines.devices.back().kind.cpu) return false;
  std::vector<uint64_t> memory;
  for (int gpu = 0; gpu < gpus; ++gpu)
    memory.push_back(machines.devices[static_cast<size_t>(gpu)].kind.memory);
  return is_too_large(options, memory);
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

QuantChoice PlannedModel::quant_at(int bits) const {
  QuantChoice quant = quant_;
  quant.otherwise.bits = bits;
  return quant;
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

LayoutChoice chosen_layout(const Options& options, const PlannedModel& model,
                           const PlannedMachines& machines) {
  const ModelConfig& config = model.config();
  if (const auto map = manual_map(options, config)) {
    const std::string by = options.device_layers.empty()
                               ? fmt::format("--topology {}", options.topology)
                               : fmt::format("-n \"{}\"", options.device_layers);
    return mapped(model, machines, *map, by + quant_options(model.quant()), model.quant());
  }
  const bool says_groups = options.tp > 0 || options.pp > 0 || options.dp > 1;
  if (!says_groups && adds_cpu(options, machines))
    if (auto candidate = automatic(options, model, machines, model.quant()))
      return *std::move(candidate);
  const int ranks = ranks_of(machines);
  const bool by_layers = options.mode == "layers" && options.tp == 0 && options.pp == 0;
  GroupSizes sizes{.tp = options.tp, .dp = std::max(options.dp, 1)};
  const int own = std::max(1, ranks / sizes.dp);  // of a replica
  sizes.pp = by_layers ? own : std::max(options.pp, 1);
  if (sizes.tp == 0) sizes.tp = tensor_parallel_sizes(config, std::max(1, own / sizes.pp)).back();
  if (sizes.ranks() > ranks)
    fail(ExitCode::config, "--tp {} x --pp {} x --dp {} take {} ranks, there are {} devices: {}",
         sizes.tp, sizes.pp, sizes.dp, sizes.ranks(), ranks, machines.text);
  LayoutChoice candidate = grid(model, sizes, model.quant());
  if (sizes.ranks() < ranks) {
    candidate.note = fmt::format("{} of {} devices: the most that the model's heads divide among",
                                 sizes.ranks(), ranks);
  }
  return candidate;
}

std::vector<LayoutChoice> other_layouts(const Options& options, const PlannedModel& model,
                                        const PlannedMachines& machines,
                                        const LayoutChoice& chosen) {
  std::vector<QuantChoice> forms{model.quant()};
  if (options.quant == 0 && model.is_plain())
    for (const int bits : {8, 4}) forms.push_back(model.quant_at(bits));
  const int ranks = ranks_of(machines);
  std::vector<LayoutChoice> others;
  const auto add = [&](LayoutChoice candidate) {
    if (candidate.options != chosen.options) others.push_back(std::move(candidate));
  };
  for (const QuantChoice& quant : forms) {
    for (const int tp : tensor_parallel_sizes(model.config(), ranks)) {
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
