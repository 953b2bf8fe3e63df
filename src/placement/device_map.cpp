#include "placement/device_map.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/error.h"

namespace dinfer {

std::string DeviceName::text() const { return cpu ? "cpu" : fmt::format("cuda:{}", ordinal); }

DeviceMap make_device_map(const std::vector<DeviceName>& by_unit, std::string source) {
  const std::set<DeviceName> devices(by_unit.begin(), by_unit.end());
  DeviceMap map{.devices = {devices.begin(), devices.end()}, .source = std::move(source)};
  for (const DeviceName& device : by_unit) {
    const auto found = std::ranges::lower_bound(map.devices, device);
    map.owners.push_back(static_cast<int>(found - map.devices.begin()));
  }
  return map;
}

void check_devices(const DeviceMap& map, int gpus) {
  for (const DeviceName& device : map.devices) {
    if (device.cpu || device.ordinal < gpus) continue;
    const std::string there = gpus == 0   ? "no GPU is visible"
                              : gpus == 1 ? "cuda:0 is the only one"
                                          : fmt::format("cuda:0 to cuda:{} are", gpus - 1);
    fail(ExitCode::config,
         "{} places layers on {}, which is not there: {} (numbers count visible devices, after "
         "CUDA_VISIBLE_DEVICES)",
         map.source, device.text(), there);
  }
}

}  // namespace dinfer
