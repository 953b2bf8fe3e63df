#include "cli/start_layout.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/error.h"
#include "checkpoint/model_tensors.h"
#include "placement/device_layers.h"
#include "placement/topology.h"

namespace dinfer {
namespace {

// FFN cuts of plain weights: whole vectors of any instruction set.
constexpr int64_t kPlainAlignment = 32;

// A manual mapping is obeyed or refused, never dropped.
void refuse_contradictions(const Options& options, const std::string& source) {
  std::string other;
  if (options.tp > 1) other = fmt::format("--tp {}", options.tp);
  if (options.pp > 1) other = fmt::format("--pp {}", options.pp);
  if (options.dp > 1) other = fmt::format("--dp {}", options.dp);
  if (options.mode == "tensor") other = "--mode tensor";
  if (!other.empty())
    fail(ExitCode::config,
         "{} gives each layer to one device, {} asks for another layout: leave one out", source,
         other);
}

Layout lay_out_map(const DeviceMap& map, const ModelConfig& config, const World& world,
                   const CutRules& rules) {
  const int devices = static_cast<int>(map.devices.size());
  if (world.nodes > 1)
    fail(ExitCode::config,
         "{} maps layers to the devices of one machine, and this job has {}: use --pp {} to give "
         "each "
         "rank some of the layers",
         map.source, world.nodes, world.size);
  if (devices != world.size)
    fail(ExitCode::config, "{} names {} device{}, and {} rank{} started: start {}", map.source,
         devices, devices == 1 ? "" : "s", world.size, world.size == 1 ? " was" : "s were",
         devices);
  Layout layout{.mode = devices > 1 ? "layer-map" : "single",
                .pp = devices,
                .reason = "mapped by " + map.source};
  layout.devices = map.devices;
  std::vector<std::vector<int>> groups;
  for (int rank = 0; rank < devices; ++rank) groups.push_back({rank});
  layout.placement = place(config, groups, map.owners, rules);
  return layout;
}

struct GroupSizes {
  int tp, pp, dp;
};

GroupSizes group_sizes(const Options& options, int ranks, bool by_layers) {
  int tp = options.tp, pp = options.pp;
  const int dp = std::max(options.dp, 1);
  const int own = std::max(1, ranks / dp);  // of a replica
  if (by_layers && pp == 0) pp = tp > 0 ? std::max(1, own / tp) : own;
  if (pp == 0) pp = 1;
  if (tp == 0) tp = std::max(1, own / pp);
  if (int64_t{tp} * pp * dp == ranks) return {tp, pp, dp};
  const std::string started =
      fmt::format("{} rank{} started", ranks, ranks == 1 ? " was" : "s were");
  const std::string copies = dp > 1 ? fmt::format(" --dp {}", dp) : "";
  if (options.tp == 0)
    fail(ExitCode::config, "{}{}: {}, which do not make {} groups of one size",
         options.pp > 0 ? fmt::format("--pp {}", pp) : "", copies, started, int64_t{pp} * dp);
  fail(ExitCode::config,
       "--tp {} x --pp {}{} makes {} ranks, and {}: start {}, or leave --tp out, which takes all "
       "ranks",
       tp, pp, dp > 1 ? " x" + copies : "", int64_t{tp} * pp * dp, started, int64_t{tp} * pp * dp);
}

}  // namespace

int Layout::depth() const {
  const int reporter = placement.stages.back().ranks.front();
  const std::vector<OwnStage> own = placement.stages_of(0);
  const bool shares_messages =
      reporter != 0 && std::ranges::count(own, reporter, &OwnStage::from) > 0;
  return shares_messages ? 1 : pp;
}

int64_t ffn_alignment(const Checkpoint* checkpoint, const ModelConfig& config,
                      const QuantChoice& quant) {
  const auto group = [](const QuantSpec& spec) -> int64_t {
    return spec.bits > 0 ? spec.group : 0;
  };
  int64_t alignment = std::max(kPlainAlignment, group(quant.otherwise));
  for (const auto& [module, spec] : quant.modules) alignment = std::max(alignment, group(spec));
  for (int64_t layer = 0; checkpoint && layer < config.layers; ++layer) {
    for (const MlpModules& mlp : mlp_modules(config, layer)) {
      const TensorInfo* down = checkpoint->find(mlp.down + ".weight");
      if (down) alignment = std::max(alignment, stored_group(*down));
    }
  }
  return alignment;
}

std::optional<DeviceMap> manual_map(const Options& options, const ModelConfig& config) {
  std::optional<DeviceMap> map;
  if (!options.device_layers.empty()) map = map_device_layers(options.device_layers, config);
  if (!options.topology.empty()) {
    std::optional<DeviceMap> placed = map_topology(read_topology(options.topology), config);
    if (placed && map)
      fail(ExitCode::config, "-n and the devices of {} both say where layers go: leave one out",
           options.topology);
    if (placed) map = std::move(placed);
  }
  if (map) refuse_contradictions(options, map->source);
  return map;
}

bool asks_for_map(const Options& options) {
  return !options.device_layers.empty() || !options.topology.empty();
}

std::optional<MappedDevices> mapped_devices(const Options& options, const ModelConfig& config) {
  const std::optional<DeviceMap> map = manual_map(options, config);
  if (!map) return std::nullopt;
  MappedDevices mapped{.ranks = static_cast<int>(map->devices.size()), .source = map->source};
  for (const DeviceName& device : map->devices)
    if (!device.cpu) mapped.highest_gpu = std::max(mapped.highest_gpu, device.ordinal);
  return mapped;
}

QuantChoice wanted_quantization(const Options& options, const ModelConfig& config) {
  const QuantSpec asked{.bits = options.quant, .group = options.quant_group};
  if (options.topology.empty()) return asked;
  return choose_quantization(read_topology(options.topology), config, asked);
}

CutRules cut_rules(const Options& options, const Checkpoint* checkpoint, const ModelConfig& config,
                   const QuantChoice& quant) {
  return {ffn_alignment(checkpoint, config, quant),
          options.uneven_tp ? HeadRule::uneven : HeadRule::even};
}

Layout decide_layout(const Options& options, const ModelConfig& config, const World& world,
                     Sharing sharing, const CutRules& rules) {
  if (const auto map = manual_map(options, config)) return lay_out_map(*map, config, world, rules);
  const bool by_layers = sharing != Sharing::tensors || options.mode == "layers";
  const auto [tp, pp, dp] = group_sizes(options, world.size, by_layers);
  Layout layout{.placement = pipeline(config, tp, pp, rules),
                .mode = layout_mode(tp, pp, dp),
                .tp = tp,
                .pp = pp,
                .dp = dp,
                .reason = options.pp > 1 ? fmt::format("{} stages", pp) : "no manual mapping"};
  if (dp > 1) layout.reason += fmt::format(", {} replicas", dp);
  layout.by_speed = by_layers && options.pp == 0 && tp == 1 && pp > 1 && dp == 1;
  if (sharing == Sharing::layers_with_cpu) {
    for (int gpu = 0; gpu + 1 < world.size; ++gpu) layout.devices.push_back({.ordinal = gpu});
    layout.devices.push_back({.cpu = true});
  }
  return layout;
}

std::string layout_mode(int tp, int pp, int dp) {
  const int ways = (tp > 1) + (pp > 1) + (dp > 1);
  if (ways == 0) return "single";
  if (ways > 1 || dp > 1) return "hybrid";
  return pp > 1 ? "layer-map" : "tensor-parallel";
}

std::string units_text(const Shard& shard, int64_t layers) {
  const auto whole = [&](int64_t layer) {
    return shard.owns(unit::attention(layer)) && shard.owns(unit::mlp(layer));
  };
  std::vector<std::string> parts;
  for (int64_t layer = 0; layer < layers; ++layer) {
    if (whole(layer)) {
      const int64_t first = layer;
      while (layer + 1 < layers && whole(layer + 1)) ++layer;
      parts.push_back(first == layer ? fmt::format("L{}", first)
                                     : fmt::format("L{}-{}", first, layer));
      continue;
    }
    for (const int64_t part : {unit::attention(layer), unit::mlp(layer)})
      if (shard.owns(part)) parts.push_back(unit::name(part, layers));
  }
  // Embedding and head go with the layers beside them, as a rule, and are told where they do not.
  if (shard.owns(unit::kEmbed) && !shard.owns(unit::attention(0)))
    parts.insert(parts.begin(), unit::name(unit::kEmbed, layers));
  if (shard.owns(unit::head(layers)) && !shard.owns(unit::mlp(layers - 1)))
    parts.push_back(unit::name(unit::head(layers), layers));
  return fmt::format("{}", fmt::join(parts, ","));
}

std::string describe_owners(const Placement& placement, int64_t layers) {
  std::vector<std::string> ranks;
  for (size_t rank = 0; rank < placement.shards.size(); ++rank)
    ranks.push_back(fmt::format("{}:{}", rank, units_text(placement.shards[rank], layers)));
  return fmt::format("{}", fmt::join(ranks, " "));
}

}  // namespace dinfer
