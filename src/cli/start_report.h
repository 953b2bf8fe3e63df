#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bootstrap/world.h"
#include "cli/start_layout.h"
#include "cli/start_memory.h"
#include "device/device.h"

namespace dinfer {

// What is known of a job once its memory is planned.
struct StartReport {
  const World& world;
  const Layout& layout;
  int64_t layers = 0;
  std::string bootstrap, reason;  // why the ranks met so
  std::string_view transport;     // of tensors
  bool nccl = false;
  const std::vector<std::string>& hosts;  // by rank, as all that follows
  const std::vector<DeviceKind>& kinds;
  const std::vector<RankMemory>& memory;
  int64_t kv_blocks = 0;
};

// Logs the lines that tools read: `layout:`, one a rank, and with a manual mapping one a layer.
void log_start(const StartReport& report);

}  // namespace dinfer
