#include "cli/start_split.h"

#include <algorithm>
#include <cmath>

#include "cli/plan_speed.h"
#include "cli/start_layout.h"
#include "engine/bytes.h"
#include "placement/split.h"

namespace dinfer {
namespace {

constexpr int64_t kSplitTokens = 4096;

struct Offers {
  std::vector<SplitDevice> devices;  // by rank, which is the number in their names
  bool offloads = false;             // the last one is the only CPU, beside GPUs
};

std::vector<SplitOffer> exchange(ControlPlane& control, Deadline deadline, const SplitOffer& own) {
  ByteWriter out;
  out.put_text(own.host);
  out.put(static_cast<uint8_t>(own.kind));
  out.put(own.room);
  out.put(own.read_gb_s);
  std::vector<SplitOffer> offers;
  for (const Bytes& message : control.all_gather(out.take(), deadline)) {
    ByteReader in(message, "what a rank's device offers");
    SplitOffer& offer = offers.emplace_back(SplitOffer{.host = in.get_text()});
    offer.kind = static_cast<DeviceKind>(in.get<uint8_t>());
    offer.room = in.get<uint64_t>();
    offer.read_gb_s = in.get<double>();
  }
  return offers;
}

Offers gather_offers(ControlPlane& control, Deadline deadline, const SplitOffer& own,
                     const ModelConfig& config) {
  const double hidden = static_cast<double>(config.hidden) * sizeof(float);
  Offers offers;
  const std::vector<SplitOffer> ranks = exchange(control, deadline, own);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    const SplitOffer& offer = ranks[rank];
    const SplitOffer& before = ranks[rank > 0 ? rank - 1 : 0];
    const bool gpus = offer.kind == DeviceKind::cuda && before.kind == DeviceKind::cuda;
    offers.devices.push_back(
        {.name = {.ordinal = static_cast<int>(rank)},
         .room = offer.room,
         .read_gb_s = offer.read_gb_s,
         .layer_us = layer_time({.cpu = offer.kind == DeviceKind::cpu}),
         .handover_us = handover_time(hidden, gpus, offer.host == before.host)});
  }
  offers.offloads = ranks.size() > 1 && ranks.back().kind == DeviceKind::cpu &&
                    std::ranges::count(ranks, DeviceKind::cpu, &SplitOffer::kind) == 1;
  offers.devices.back().name.cpu = offers.offloads;
  return offers;
}

}  // namespace

int64_t split_kv_blocks(const Options& options, int64_t seq_len) {
  const int64_t tokens = std::min(seq_len, kSplitTokens);
  const int64_t blocks = options.kv_blocks > 0
                             ? options.kv_blocks
                             : (tokens + options.kv_block_size - 1) / options.kv_block_size;
  return static_cast<int64_t>(std::ceil(static_cast<double>(blocks) / options.kv_memory_fraction));
}

UnitNeeds needs_of(const SplitWishes& wishes) {
  UnitNeeds needs;
  Shard shard = tensor_parallel(wishes.config, 1, wishes.rules).shards[0];
  for (int64_t u = 0; u < unit::count(wishes.config.layers); ++u) {
    shard.units = {{u, u + 1}};
    const WeightBytes bytes = wishes.weight_bytes(shard);
    needs.weights.push_back(bytes.all());
    needs.reads.push_back(
        u == unit::kEmbed ? 0 : static_cast<uint64_t>(bytes.read_by(1, wishes.config.experts)));
    needs.kv.push_back(static_cast<uint64_t>(wishes.kv_blocks) * wishes.kv_block_bytes(shard));
  }
  return needs;
}

AutomaticSplit split_automatically(ControlPlane& control, Deadline deadline, const SplitOffer& own,
                                   const SplitWishes& wishes) {
  const auto [devices, offloads] = gather_offers(control, deadline, own, wishes.config);
  const Split split = split_layers(needs_of(wishes), devices);
  std::vector<std::vector<int>> groups;
  for (int rank = 0; rank < std::ssize(devices); ++rank) groups.push_back({rank});
  std::vector<int> owners;
  for (const int owner : split.map.owners)
    owners.push_back(split.map.devices[static_cast<size_t>(owner)].ordinal);
  AutomaticSplit result{.placement = place(wishes.config, groups, owners, wishes.rules)};
  for (size_t i = 0; i < split.map.devices.size(); ++i) {
    const auto rank = static_cast<size_t>(split.map.devices[i].ordinal);
    result.reason +=
        fmt::format("{}rank {} {} ({:.2f} ms a step at {:.0f} GB/s)", i == 0 ? "" : ", ", rank,
                    units_text(result.placement.shards[rank], wishes.config.layers),
                    split.stage_us[i] / 1000, devices[rank].read_gb_s);
  }
  if (offloads)
    result.reason += split.map.devices.back().cpu ? "; on the CPU what the GPUs have no room for"
                                                  : "; nothing on the CPU: the GPUs have the room";
  return result;
}

}  // namespace dinfer
