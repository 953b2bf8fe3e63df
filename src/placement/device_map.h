#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <vector>

#include "placement/placement.h"

namespace dinfer {

// A device of a host. GPUs go by their visible ordinals, after CUDA_VISIBLE_DEVICES; beside them
// the host has one CPU. In a job of CPU ranks, ordinal i is the i-th rank of the host.
struct DeviceName {
  bool cpu = false;
  int ordinal = 0;  // of a GPU

  auto operator<=>(const DeviceName&) const = default;  // GPUs by ordinal, the CPU last
  std::string text() const;                             // "cuda:1", "cpu"
};

// Who owns each unit of a model, by device. Rank r of the job is devices[r].
struct DeviceMap {
  std::vector<DeviceName> devices;  // ascending; each owns something
  std::vector<int> owners;          // by unit: index into devices
  std::string source;               // "-n", a topology's file, "automatic split"
};

// The map in which unit u belongs to by_unit[u].
DeviceMap make_device_map(const std::vector<DeviceName>& by_unit, std::string source);

// Error(config) that names a device of the map that is not there: `gpus` is the number of visible
// GPUs, or of CPU ranks a host in a job of those.
void check_devices(const DeviceMap& map, int gpus);

}  // namespace dinfer
