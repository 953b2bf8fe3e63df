#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "placement/device_map.h"

namespace dinfer {

// The most memory that a job may take on a device.
struct MemoryLimit {
  DeviceName device;
  uint64_t bytes = 0;
};

// Of --memory-limit "0=20GiB,cpu=512MiB"; none where the text is no such list, or names a device
// twice.
std::optional<std::vector<MemoryLimit>> parse_memory_limits(std::string_view text);

// `free` bytes of a device, as far as the limits of `text` let a job have them. `text`: as
// parse_memory_limits() takes it, or empty.
uint64_t limited_memory(std::string_view text, const std::string& device, uint64_t free);

// Error(config) that names a device of `text` which is none of `devices`.
void check_memory_limits(std::string_view text, std::vector<std::string> devices);

}  // namespace dinfer
