#include "placement/split.h"

#include <algorithm>
#include <limits>
#include <optional>

#include <fmt/ranges.h>

#include "base/error.h"

namespace dinfer {
namespace {

constexpr double kWorthADevice = 1.01;  // the slowest stage may be so much slower without it
constexpr int kHalvings = 60;
constexpr double kNoLimit = std::numeric_limits<double>::infinity();

double gib(uint64_t bytes) { return static_cast<double>(bytes) / (1u << 30); }

// Sums over layers: those of the embedding count with the first layer, of the head with the last.
class LayerSums {
 public:
  explicit LayerSums(const UnitNeeds& units)
      : layers_(std::ssize(units.weights) / 2 - 1), bytes_(1), reads_(1) {
    for (int64_t layer = 0; layer < layers_; ++layer) {
      const int64_t begin = layer == 0 ? unit::kEmbed : unit::attention(layer);
      const int64_t end = layer + 1 == layers_ ? unit::count(layers_) : unit::attention(layer + 1);
      uint64_t bytes = bytes_.back(), reads = reads_.back();
      for (int64_t u = begin; u < end; ++u) {
        bytes += units.weights[static_cast<size_t>(u)] + units.kv[static_cast<size_t>(u)];
        reads += units.reads[static_cast<size_t>(u)];
      }
      bytes_.push_back(bytes);
      reads_.push_back(reads);
    }
  }

  int64_t layers() const { return layers_; }
  uint64_t bytes(Range layers) const { return difference(bytes_, layers); }

  double microseconds(const SplitDevice& device, Range layers) const {
    return static_cast<double>(difference(reads_, layers)) / device.read_gb_s / 1e3 +
           device.layer_us * static_cast<double>(layers.size()) +
           (layers.begin > 0 ? device.handover_us : 0);
  }

  // The end of the longest run from `begin` that the device has room for and works off in time.
  int64_t reach(const SplitDevice& device, int64_t begin, double limit_us) const {
    int64_t low = begin, high = layers_;
    while (low < high) {
      const int64_t middle = (low + high + 1) / 2;
      const Range run{begin, middle};
      const bool fits = bytes(run) <= device.room && microseconds(device, run) <= limit_us;
      (fits ? low : high) = fits ? middle : middle - 1;
    }
    return low;
  }

 private:
  static uint64_t difference(const std::vector<uint64_t>& sums, Range layers) {
    return sums[static_cast<size_t>(layers.end)] - sums[static_cast<size_t>(layers.begin)];
  }

  int64_t layers_;
  std::vector<uint64_t> bytes_, reads_;  // of the layers before
};

struct Run {
  size_t device = 0;
  Range layers;
};

// Layers from `first` on, taken in order by some of the devices. As each takes all that it can, a
// device later in the list starts as far on as possible; so if this leaves layers over, every other
// choice does.
class Sharing {
 public:
  Sharing(const LayerSums& sums, const std::vector<SplitDevice>& devices, size_t count,
          int64_t first)
      : sums_(sums), devices_(devices), count_(count), first_(first) {}

  // The layers that all devices together reach.
  int64_t reach(double limit_us) const {
    int64_t at = first_;
    for (size_t d = 0; d < count_; ++d) at = sums_.reach(devices_[d], at, limit_us);
    return at;
  }

  // The least limit within which they reach the last layer, as near as doubles tell.
  double least_limit() const {
    double low = 0, high = 1;
    while (reach(high) < sums_.layers()) high *= 2;
    for (int i = 0; i < kHalvings; ++i) {
      const double middle = (low + high) / 2;
      (reach(middle) < sums_.layers() ? low : high) = middle;
    }
    return high;
  }

  // The fewest devices that reach the last layer within the limit; each row of the table says how
  // far so many of the first devices come, and which device is the last of them.
  std::vector<size_t> fewest(double limit_us) const {
    struct Best {
      int64_t end = -1;
      size_t last = 0, before = 0;  // the device, and the column of the row above it came from
    };
    std::vector<std::vector<Best>> rows{std::vector<Best>(count_ + 1, {.end = first_})};
    while (rows.back()[count_].end < sums_.layers()) {
      std::vector<Best> row(count_ + 1);
      for (size_t d = 0; d < count_; ++d) {
        row[d + 1] = row[d];
        const int64_t begin = rows.back()[d].end;
        if (begin < 0) continue;
        const int64_t end = sums_.reach(devices_[d], begin, limit_us);
        if (end > row[d + 1].end) row[d + 1] = {end, d, d};
      }
      check(row[count_].end >= rows.back()[count_].end, "one more device reaches no less far");
      rows.push_back(std::move(row));
    }
    std::vector<size_t> chosen;
    size_t column = count_;
    for (size_t row = rows.size() - 1; row > 0; --row) {
      chosen.insert(chosen.begin(), rows[row][column].last);
      column = rows[row][column].before;
    }
    return chosen;
  }

 private:
  const LayerSums& sums_;
  const std::vector<SplitDevice>& devices_;
  size_t count_;
  int64_t first_;
};

// Layers from `first` on over the first `count` devices; none: they lack the room.
std::optional<std::vector<Run>> share(const LayerSums& sums,
                                      const std::vector<SplitDevice>& devices, size_t count,
                                      int64_t first) {
  const Sharing all(sums, devices, count, first);
  if (all.reach(kNoLimit) < sums.layers()) return std::nullopt;
  const std::vector<size_t> chosen = all.fewest(all.least_limit() * kWorthADevice);
  std::vector<SplitDevice> used;
  for (const size_t device : chosen) used.push_back(devices[device]);
  const double limit = Sharing(sums, used, used.size(), first).least_limit();
  std::vector<Run> runs;
  int64_t at = first;
  for (const size_t device : chosen) {
    const int64_t end = sums.reach(devices[device], at, limit);
    if (end > at) runs.push_back({device, {at, end}});
    at = end;
  }
  return runs;
}

[[noreturn]] void fail_to_fit(const LayerSums& sums, const std::vector<SplitDevice>& devices) {
  std::vector<std::string> rooms;
  for (const SplitDevice& device : devices)
    rooms.push_back(fmt::format("{} {:.1f}GiB", device.name.text(), gib(device.room)));
  fail(ExitCode::does_not_fit,
       "weights and KV cache take {:.1f}GiB, and no split of the layers fits beside activations "
       "into {}: use more devices, --quant 8 or 4 where the weights are plain, or a smaller "
       "--max-seq-len",
       gib(sums.bytes({0, sums.layers()})), fmt::join(rooms, ", "));
}

std::vector<Run> runs_of(const LayerSums& sums, const std::vector<SplitDevice>& devices) {
  const bool has_cpu = devices.back().name.cpu;
  const size_t gpus = devices.size() - (has_cpu ? 1 : 0);
  if (auto runs = share(sums, devices, gpus, 0)) return *runs;
  if (!has_cpu) fail_to_fit(sums, devices);
  const int64_t most = sums.reach(devices.back(), 0, kNoLimit);  // layers on the CPU
  for (int64_t offloaded = 1; offloaded <= most; ++offloaded) {
    auto runs = share(sums, devices, gpus, offloaded);
    if (!runs) continue;
    runs->insert(runs->begin(), Run{gpus, {0, offloaded}});
    return *runs;
  }
  fail_to_fit(sums, devices);
}

}  // namespace

Split split_layers(const UnitNeeds& units, const std::vector<SplitDevice>& devices) {
  check(units.weights.size() >= 4 && units.weights.size() == units.reads.size() &&
            units.weights.size() == units.kv.size() && !devices.empty(),
        "needs of every unit of a model, and a device");
  const LayerSums sums(units);
  const std::vector<Run> runs = runs_of(sums, devices);
  std::vector<DeviceName> by_unit{devices[runs.front().device].name};
  std::vector<std::string> parts;
  double slowest = 0;
  for (const Run& run : runs) {
    const SplitDevice& device = devices[run.device];
    by_unit.insert(by_unit.end(), static_cast<size_t>(2 * run.layers.size()), device.name);
    const double us = sums.microseconds(device, run.layers);
    slowest = std::max(slowest, us);
    parts.push_back(fmt::format("{} layers on {} ({:.2f} ms)", run.layers.size(),
                                device.name.text(), us / 1e3));
  }
  by_unit.push_back(by_unit.back());
  Split split{.map = make_device_map(by_unit, "automatic split")};
  for (const DeviceName& name : split.map.devices) {
    const auto run =
        std::ranges::find(runs, name, [&](const Run& r) { return devices[r.device].name; });
    split.stage_us.push_back(sums.microseconds(devices[run->device], run->layers));
  }
  split.reason =
      fmt::format("{}; slowest {:.2f} ms a step{}", fmt::join(parts, ", "), slowest / 1e3,
                  by_unit[0].cpu ? "; on the CPU what the GPUs have no room for" : "");
  return split;
}

}  // namespace dinfer
