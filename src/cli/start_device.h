#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/start_layout.h"
#include "device/device.h"
#include "factory.h"

namespace dinfer {

// This rank's device, and what the others have.
struct RankDevice {
  std::unique_ptr<Device> device;
  std::string name;                // as --memory-limit and topologies have it
  std::vector<std::string> hosts;  // by rank
  std::vector<DeviceKind> kinds;   // by rank

  bool on_gpu() const { return device->kind() == DeviceKind::cuda; }
  // Of the job, not of this rank: what all ranks must do alike depends on it.
  bool any_gpu() const;
};

// Collective: the device that a mapping names or the bootstrap gave, with this rank's share of its
// host. Where --memory-limit names none that a rank has: Error(config) on all ranks.
RankDevice open_device(const Options& options, const Bootstrap& boot, const Layout& layout);

// Bytes that a rank may use of its device, within --memory-limit. CPU ranks of a host share its
// memory.
uint64_t free_memory(const RankDevice& own, const Options& options, const World& world);

}  // namespace dinfer
