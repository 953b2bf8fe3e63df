#include "placement/memory_limits.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/whole_number.h"

namespace dinfer {
namespace {

constexpr int kMostOrdinal = 65535;
constexpr uint64_t kMostBytes = uint64_t{1} << 60;

std::optional<DeviceName> device_of(std::string_view text) {
  if (text == "cpu") return DeviceName{.cpu = true};
  const auto ordinal = whole_number(text, kMostOrdinal);
  if (!ordinal) return std::nullopt;
  return DeviceName{.ordinal = *ordinal};
}

std::optional<uint64_t> bytes_of(std::string_view text) {
  const uint64_t unit = text.ends_with("GiB") ? 1u << 30 : text.ends_with("MiB") ? 1u << 20 : 0;
  if (unit == 0) return std::nullopt;
  const auto count = whole_number(text.substr(0, text.size() - 3), kMostBytes / unit);
  if (!count || *count == 0) return std::nullopt;
  return *count * unit;
}

std::optional<MemoryLimit> limit_of(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == std::string_view::npos) return std::nullopt;
  const auto device = device_of(text.substr(0, equals));
  const auto bytes = bytes_of(text.substr(equals + 1));
  if (!device || !bytes) return std::nullopt;
  return MemoryLimit{*device, *bytes};
}

std::vector<MemoryLimit> limits_of(std::string_view text) {
  if (text.empty()) return {};
  const auto limits = parse_memory_limits(text);
  check(limits.has_value(), "memory limits were checked when options were read");
  return *limits;
}

}  // namespace

std::optional<std::vector<MemoryLimit>> parse_memory_limits(std::string_view text) {
  std::vector<MemoryLimit> limits;
  for (size_t from = 0; from <= text.size();) {
    const size_t end = std::min(text.find(',', from), text.size());
    const auto limit = limit_of(text.substr(from, end - from));
    if (!limit) return std::nullopt;
    if (std::ranges::find(limits, limit->device, &MemoryLimit::device) != limits.end())
      return std::nullopt;
    limits.push_back(*limit);
    from = end + 1;
  }
  return limits;
}

uint64_t limited_memory(std::string_view text, const std::string& device, uint64_t free) {
  for (const MemoryLimit& limit : limits_of(text))
    if (limit.device.text() == device) free = std::min(free, limit.bytes);
  return free;
}

void check_memory_limits(std::string_view text, std::vector<std::string> devices) {
  for (const MemoryLimit& limit : limits_of(text)) {
    if (std::ranges::find(devices, limit.device.text()) != devices.end()) continue;
    std::ranges::sort(devices);
    const auto repeated = std::ranges::unique(devices);
    devices.erase(repeated.begin(), repeated.end());
    fail(
        ExitCode::config,
        "--memory-limit {} limits {}, which this job does not use; its devices are {} (numbers "
        "count visible GPUs, after CUDA_VISIBLE_DEVICES, or where all compute on CPUs the ranks of "
        "a host)",
        text, limit.device.text(), fmt::join(devices, ", "));
  }
}

}  // namespace dinfer
