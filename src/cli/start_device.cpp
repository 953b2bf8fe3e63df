#include "cli/start_device.h"

#include <algorithm>
#include <span>

#include "cli/start_cores.h"
#include "cli/start_together.h"
#include "placement/memory_limits.h"

namespace dinfer {

namespace {

std::string name_device(const RankDevice& own, const World& world, const Layout& layout) {
  if (layout.is_mapped()) return layout.devices[static_cast<size_t>(world.rank)].text();
  if (own.on_gpu()) return own.device->name();
  return DeviceName{.cpu = own.any_gpu(), .ordinal = world.local_rank}.text();
}

void check_limits(const Options& options, const Bootstrap& boot, const std::string& own) {
  if (options.memory_limit.empty()) return;
  const auto bytes = std::as_bytes(std::span(own));
  std::vector<std::string> devices;
  for (const Bytes& name :
       boot.control->all_gather({bytes.begin(), bytes.end()}, start_deadline(options)))
    devices.emplace_back(reinterpret_cast<const char*>(name.data()), name.size());
  together(*boot.control, boot.world, start_deadline(options),
           [&] { check_memory_limits(options.memory_limit, devices); });
}

}  // namespace

bool RankDevice::any_gpu() const {
  return std::ranges::find(kinds, DeviceKind::cuda) != kinds.end();
}

RankDevice open_device(const Options& options, const Bootstrap& boot, const Layout& layout) {
  World place = boot.world;
  bool cpu_only = options.cpu;
  if (layout.is_mapped()) {
    const DeviceName& device = layout.devices[static_cast<size_t>(place.rank)];
    place.ordinal = device.ordinal;
    cpu_only = cpu_only || device.cpu;
  }
  HostShare share = share_of_host(*boot.control, start_deadline(options), boot.world,
                                  device_kind(cpu_only), options.threads);
  const CpuOptions cpu{.threads = share.threads,
                       .math = options.cpu_math == "f32" ? CpuMath::f32 : CpuMath::automatic,
                       .cores = std::move(share.cores)};
  RankDevice own{.device = nullptr,
                 .name = "",
                 .hosts = std::move(share.hosts),
                 .kinds = std::move(share.kinds)};
  together(*boot.control, boot.world, start_deadline(options),
           [&] { own.device = make_device(place, cpu_only, cpu); });
  own.name = name_device(own, boot.world, layout);
  check_limits(options, boot, own.name);
  return own;
}

uint64_t free_memory(const RankDevice& own, const Options& options, const World& world) {
  uint64_t sharers = 1;
  for (size_t rank = 0; rank < own.kinds.size() && !own.on_gpu(); ++rank)
    if (static_cast<int>(rank) != world.rank && own.kinds[rank] == DeviceKind::cpu &&
        own.hosts[rank] == world.host)
      ++sharers;
  return limited_memory(options.memory_limit, own.name, own.device->free_memory() / sharers);
}

}  // namespace dinfer
