#include "placement/split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "tests/unit/placement/refusal.h"

namespace dinfer {
namespace {

using test::expect_has;
using test::refusal;

constexpr uint64_t kMega = 1'000'000;

// Layers of 100 MB, an embedding and a head of 50 MB, 10 MB of KV cache a layer.
UnitNeeds needs_of(int64_t layers) {
  UnitNeeds needs;
  for (int64_t u = 0; u < unit::count(layers); ++u) {
    const bool outer = u == unit::kEmbed || u == unit::head(layers);
    const bool attention = !outer && u % 2 == 1;
    needs.weights.push_back((outer ? 50 : attention ? 30 : 70) * kMega);
    needs.reads.push_back(u == unit::kEmbed ? 0 : needs.weights.back());
    needs.kv.push_back(attention ? 10 * kMega : 0);
  }
  return needs;
}

SplitDevice gpu(int ordinal, uint64_t megabytes, double gb_s) {
  return {.name = {.ordinal = ordinal},
          .room = megabytes * kMega,
          .read_gb_s = gb_s,
          .layer_us = 5,
          .handover_us = 10};
}

SplitDevice cpu(uint64_t megabytes) {
  return {.name = {.cpu = true}, .room = megabytes * kMega, .read_gb_s = 50};
}

// Layers by device, in the order of the map's devices.
std::vector<int64_t> layers_of(const Split& split) {
  std::vector<int64_t> counts(split.map.devices.size());
  for (size_t u = 1; u + 1 < split.map.owners.size(); u += 2)
    ++counts[static_cast<size_t>(split.map.owners[u])];
  return counts;
}

TEST(Split, EqualDevicesShareEvenly) {
  const Split split = split_layers(needs_of(32), {gpu(0, 9000, 4000), gpu(1, 9000, 4000)});
  EXPECT_EQ(layers_of(split), (std::vector<int64_t>{16, 16}));
  EXPECT_EQ(split.map.source, "automatic split");
}

TEST(Split, ADeviceTwiceAsFastGetsTwiceTheLayers) {
  const Split split = split_layers(needs_of(30), {gpu(0, 9000, 1000), gpu(1, 9000, 2000)});
  EXPECT_EQ(layers_of(split), (std::vector<int64_t>{10, 20}));
}

TEST(Split, AFullDeviceLeavesTheRestToTheOthers) {
  const Split split = split_layers(needs_of(32), {gpu(0, 1000, 4000), gpu(1, 9000, 4000)});
  EXPECT_EQ(layers_of(split), (std::vector<int64_t>{8, 24}));
}

TEST(Split, ADeviceWithoutRoomIsLeftOut) {
  const Split split = split_layers(needs_of(4), {gpu(0, 10, 4000), gpu(1, 9000, 4000)});
  EXPECT_EQ(split.map.devices, (std::vector<DeviceName>{{.ordinal = 1}}));
}

TEST(Split, TheCpuIsForWhatTheGpusCannotHold) {
  const std::vector<SplitDevice> devices{gpu(0, 1200, 4000), cpu(100'000)};
  EXPECT_EQ(layers_of(split_layers(needs_of(10), devices)), (std::vector<int64_t>{10}));
  const Split split = split_layers(needs_of(12), devices);
  EXPECT_EQ(layers_of(split), (std::vector<int64_t>{10, 2}));
  EXPECT_EQ(split.map.owners.front(), 1);  // the first layers, with the embedding
  EXPECT_EQ(split.map.owners.back(), 0);
  expect_has(split.reason, "2 layers on cpu");
}

TEST(Split, WhatFitsNowhereIsRefusedWithTheNumbers) {
  const std::string text = refusal(ExitCode::does_not_fit, [] {
    split_layers(needs_of(100), {gpu(0, 1074, 4000), cpu(2148)});
  });
  expect_has(text, "take 10.3GiB");
  expect_has(text, "cuda:0 1.0GiB, cpu 2.0GiB");
}

// The slowest stage of the best of all splits of the GPUs, by trying them all; infinite: none fits.
double best_of_all(const UnitNeeds& needs, const std::vector<SplitDevice>& devices) {
  const int64_t layers = std::ssize(needs.weights) / 2 - 1;
  std::function<double(size_t, int64_t)> best = [&](size_t device, int64_t from) -> double {
    if (from == layers) return 0;
    if (device == devices.size()) return std::numeric_limits<double>::infinity();
    double least = best(device + 1, from);
    for (int64_t to = from + 1; to <= layers; ++to) {
      const int64_t begin = from == 0 ? 0 : unit::attention(from);
      const int64_t end = to == layers ? unit::count(layers) : unit::attention(to);
      uint64_t bytes = 0, reads = 0;
      for (int64_t u = begin; u < end; ++u) {
        bytes += needs.weights[static_cast<size_t>(u)] + needs.kv[static_cast<size_t>(u)];
        reads += needs.reads[static_cast<size_t>(u)];
      }
      if (bytes > devices[device].room) break;
      const double us = static_cast<double>(reads) / devices[device].read_gb_s / 1e3 +
                        static_cast<double>(to - from) * devices[device].layer_us +
                        (from > 0 ? devices[device].handover_us : 0);
      least = std::min(least, std::max(us, best(device + 1, to)));
    }
    return least;
  };
  return best(0, 0);
}

TEST(Split, IsWithinTwoPercentOfTheBestOfAllSplits) {
  std::mt19937 random(1);
  const auto any = [&](uint64_t low, uint64_t high) { return low + random() % (high - low + 1); };
  int fitting = 0;
  for (int i = 0; i < 2000; ++i) {
    const UnitNeeds needs = needs_of(static_cast<int64_t>(any(1, 9)));
    std::vector<SplitDevice> devices;
    for (int d = static_cast<int>(any(1, 4)); d > 0; --d) {
      devices.push_back(
          gpu(static_cast<int>(devices.size()), any(50, 900), static_cast<double>(any(500, 4000))));
    }
    const double best = best_of_all(needs, devices);
    if (best == std::numeric_limits<double>::infinity()) {
      EXPECT_THROW(split_layers(needs, devices), Error);
      continue;
    }
    ++fitting;
    const Split split = split_layers(needs, devices);
    EXPECT_LE(*std::ranges::max_element(split.stage_us), 1.02 * best);
  }
  EXPECT_GT(fitting, 300);
}

}  // namespace
}  // namespace dinfer
