#include "cli/start_report.h"

#include <algorithm>

#include "base/log.h"

namespace dinfer {
namespace {

// "2 GPU ranks", "1 GPU and 1 CPU ranks"
std::string describe_ranks(const std::vector<DeviceKind>& kinds) {
  const auto gpus = std::ranges::count(kinds, DeviceKind::cuda);
  const auto cpus = std::ssize(kinds) - gpus;
  const char* ending = kinds.size() == 1 ? "" : "s";
  if (gpus == 0) return fmt::format("{} CPU rank{}", cpus, ending);
  if (cpus == 0) return fmt::format("{} GPU rank{}", gpus, ending);
  return fmt::format("{} GPU and {} CPU ranks", gpus, cpus);
}

std::string_view nccl_state(const StartReport& report) {
  if (std::ranges::find(report.kinds, DeviceKind::cuda) == report.kinds.end()) return "";
  return report.nccl ? "NCCL present, " : "no NCCL, ";
}

// What a rank has of each of its layers, where that is not the same for all.
std::string load_text(const Layout& layout, int rank) {
  const Shard& own = layout.shard_of(rank);
  const bool even = std::ranges::all_of(layout.placement.shards, [&](const Shard& shard) {
    return shard.heads.size() == own.heads.size();
  });
  if (even) return "";
  const std::string experts =
      own.expert_ffn.size() > 0 ? fmt::format(" expert_ffn={}", own.expert_ffn.size()) : "";
  return fmt::format(" heads={} kv_heads={} ffn={}{}", own.heads.size(), own.kv_heads.size(),
                     own.ffn.size(), experts);
}

// Each layer's device, for people who mapped them.
void log_layers(const StartReport& report) {
  std::vector<std::string> owners(static_cast<size_t>(unit::count(report.layers)));
  for (const Stage& stage : report.layout.placement.stages)
    for (int64_t unit = stage.units.begin; unit < stage.units.end; ++unit)
      owners[static_cast<size_t>(unit)] = report.memory[static_cast<size_t>(stage.ranks[0])].device;
  for (int64_t layer = 0; layer < report.layers; ++layer) {
    const std::string& attention = owners[static_cast<size_t>(unit::attention(layer))];
    const std::string& mlp = owners[static_cast<size_t>(unit::mlp(layer))];
    if (attention == mlp)
      log::info("layer {}: {}", layer, mlp);
    else
      log::info("layer {}: attention {}, mlp {}", layer, attention, mlp);
  }
}

}  // namespace

void log_start(const StartReport& report) {
  const Layout& layout = report.layout;
  log::info(
      "layout: mode={} transport={} bootstrap={} ranks={} nodes={} tp={} pp={} dp={} reason=\"{}\"",
      layout.mode, report.transport, report.bootstrap, report.world.size, report.world.nodes,
      layout.tp, layout.pp, layout.dp,
      fmt::format("{}: {}, {}{}", describe_ranks(report.kinds), report.reason, nccl_state(report),
                  layout.reason));
  for (size_t rank = 0; rank < report.memory.size(); ++rank) {
    const RankMemory& memory = report.memory[rank];
    const int number = static_cast<int>(rank);
    log::info("rank {}: host={} device={} units={}{} weights={} kv_blocks={} free={}", rank,
              report.hosts[rank], memory.device, units_text(layout.shard_of(number), report.layers),
              load_text(layout, number), gibibytes(static_cast<double>(memory.weights)),
              report.kv_blocks, gibibytes(static_cast<double>(memory.free)));
  }
  if (layout.is_mapped()) log_layers(report);
}

}  // namespace dinfer
