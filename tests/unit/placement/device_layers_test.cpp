#include "placement/device_layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <regex>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "tests/unit/placement/refusal.h"

namespace dinfer {
namespace {

using test::expect_has;
using test::refusal;

ModelConfig model_of(int64_t layers) {
  ModelConfig config;
  config.layers = layers;
  return config;
}

std::string device_of_unit(const DeviceMap& map, int64_t unit) {
  return map.devices[static_cast<size_t>(map.owners[static_cast<size_t>(unit)])].text();
}

TEST(DeviceLayers, TheListsOrderIsTheLayersOrder) {
  const DeviceMap map = map_device_layers("1:2;0:3", model_of(5));
  EXPECT_EQ(map.source, "-n");
  EXPECT_EQ(map.devices, (std::vector<DeviceName>{{.ordinal = 0}, {.ordinal = 1}}));
  EXPECT_EQ(map.owners, (std::vector<int>{1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}));
}

TEST(DeviceLayers, TheCpuIsTheLastDeviceWhereverItsLayersAre) {
  const DeviceMap map = map_device_layers(" cpu:1 ; 3:1 ", model_of(2));
  EXPECT_EQ(map.devices, (std::vector<DeviceName>{{.ordinal = 3}, {.cpu = true}}));
  EXPECT_EQ(map.owners, (std::vector<int>{1, 1, 1, 0, 0, 0}));
}

// A wrong list, and the one that its message offers.
struct Wrong {
  std::string list;
  ExitCode code;
  std::string says;
  std::string offers;
};

TEST(DeviceLayers, WrongListsAreRefusedWithOneThatWouldDo) {
  const std::vector<Wrong> cases{
      {"", ExitCode::usage, "\"\" is not ORD:NUM", "0:32;1:32"},
      {"64", ExitCode::usage, "\"64\" is not ORD:NUM", "0:32;1:32"},
      {"0:32;", ExitCode::usage, "\"\" is not ORD:NUM", "0:32;1:32"},
      {"0:32,1:32", ExitCode::usage, "\"0:32,1:32\" is not ORD:NUM", "0:32;1:32"},
      {"0:32;gpu1:32", ExitCode::usage, "\"gpu1:32\" is not ORD:NUM", "0:32;1:32"},
      {"-1:64", ExitCode::usage, "\"-1:64\" is not ORD:NUM", "0:32;1:32"},
      {"0:6.5", ExitCode::usage, "is not ORD:NUM", "0:32;1:32"},
      {"0:-64", ExitCode::usage, "is not ORD:NUM", "0:32;1:32"},
      {"0:99999999999999999999", ExitCode::usage, "is not ORD:NUM", "0:32;1:32"},
      {"99999999999:64", ExitCode::usage, "is not ORD:NUM", "0:32;1:32"},
      {"0:0;1:64", ExitCode::usage, "cuda:0 gets no layer", "1:64"},
      {"0:64;cpu:0", ExitCode::usage, "cpu gets no layer", "0:64"},
      {"0:32;0:32", ExitCode::usage, "cuda:0 is there twice", "0:64"},
      {"0:20;1:20;0:24", ExitCode::usage, "cuda:0 is there twice", "0:44;1:20"},
      {"0:44;1:10", ExitCode::config, "places 54 layers, the model has 64", "0:44;1:20"},
      {"0:44;1:10", ExitCode::config, "with the rest on the CPU", "0:44;1:10;cpu:10"},
      {"0:44;1:40", ExitCode::config, "places 84 layers, the model has 64", "0:44;1:20"},
      {"0:80;1:80", ExitCode::config, "places 160 layers", "0:63;1:1"},
      {"0:10;cpu:10", ExitCode::config, "places 20 layers", "0:10;cpu:54"},
  };
  for (const Wrong& wrong : cases) {
    SCOPED_TRACE(wrong.list);
    const std::string text =
        refusal(wrong.code, [&] { map_device_layers(wrong.list, model_of(64)); });
    expect_has(text, wrong.says);
    expect_has(text, fmt::format("-n \"{}\"", wrong.offers));
    EXPECT_NO_THROW(map_device_layers(wrong.offers, model_of(64)));
  }
}

// The rules once more, as simply as can be: what each layer's device is, or nothing.
std::vector<std::string> naive(const std::string& list, int64_t layers) {
  static const std::regex entry("[ \\t]*(cpu|[0-9]{1,4})[ \\t]*:[ \\t]*([0-9]{1,9})[ \\t]*");
  std::vector<std::string> devices, seen;
  for (size_t from = 0; from <= list.size();) {
    const size_t end = std::min(list.find(';', from), list.size());
    std::smatch match;
    const std::string item = list.substr(from, end - from);
    if (!std::regex_match(item, match, entry)) return {};
    const std::string name =
        match[1] == "cpu" ? "cpu" : fmt::format("cuda:{}", std::stoi(match[1]));
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) return {};
    seen.push_back(name);
    const int64_t count = std::stoll(match[2]);
    if (count == 0 || count > layers) return {};
    devices.insert(devices.end(), static_cast<size_t>(count), name);
    from = end + 1;
  }
  return std::ssize(devices) == layers ? devices : std::vector<std::string>{};
}

std::string random_list(std::mt19937& random, int64_t layers) {
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
  std::vector<std::string> entries;
  int64_t left = layers;
  while (left > 0 && entries.size() < 6) {
    const int64_t count = entries.size() == 5 ? left : 1 + below(left);
    const std::string device = below(8) == 0 ? "cpu" : fmt::to_string(below(12));
    entries.push_back(fmt::format("{}:{}", device, count + (below(12) == 0 ? 1 : 0)));
    left -= count;
  }
  std::string list = fmt::format("{}", fmt::join(entries, ";"));
  if (below(6) == 0) list[static_cast<size_t>(below(std::ssize(list)))] = "0;: -x9"[below(7)];
  return list;
}

TEST(DeviceLayers, RandomListsMeanWhatANaiveReadingSays) {
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const int64_t layers = 1 + static_cast<int64_t>(random() % 20);
    const std::string list = random_list(random, layers);
    SCOPED_TRACE(fmt::format("{} layers: {}", layers, list));
    const std::vector<std::string> expected = naive(list, layers);
    if (expected.empty()) {
      EXPECT_THROW(map_device_layers(list, model_of(layers)), Error);
      continue;
    }
    ++accepted;
    const DeviceMap map = map_device_layers(list, model_of(layers));
    ASSERT_EQ(std::ssize(map.owners), unit::count(layers));
    for (int64_t layer = 0; layer < layers; ++layer) {
      EXPECT_EQ(device_of_unit(map, unit::attention(layer)), expected[static_cast<size_t>(layer)]);
      EXPECT_EQ(device_of_unit(map, unit::mlp(layer)), expected[static_cast<size_t>(layer)]);
    }
    EXPECT_EQ(device_of_unit(map, unit::kEmbed), expected.front());
    EXPECT_EQ(device_of_unit(map, unit::head(layers)), expected.back());
    EXPECT_TRUE(std::ranges::is_sorted(map.devices));
  }
  EXPECT_GT(accepted, 1000);
}

TEST(DeviceLayers, WhatAMessageOffersIsAlwaysAccepted) {
  std::mt19937 random(2);
  const std::regex offer("-n \"([^\"]*)\"");
  for (int i = 0; i < 5'000; ++i) {
    const int64_t layers = 1 + static_cast<int64_t>(random() % 20);
    const std::string list = random_list(random, layers);
    try {
      map_device_layers(list, model_of(layers));
    } catch (const Error& error) {
      const std::string text = error.what();
      std::sregex_iterator found(text.begin(), text.end(), offer), end;
      ASSERT_NE(found, end);
      ASSERT_NE(++found, end) << text;  // the first is the list itself
      for (; found != end; ++found)
        EXPECT_NO_THROW(map_device_layers((*found)[1], model_of(layers))) << text;
    }
  }
}

TEST(DeviceLayers, DevicesThatAreNotThereAreNamed) {
  const DeviceMap map = map_device_layers("0:1;2:1;cpu:1", model_of(3));
  EXPECT_NO_THROW(check_devices(map, 3));
  const std::string two = refusal(ExitCode::config, [&] { check_devices(map, 2); });
  expect_has(two, "-n places layers on cuda:2");
  expect_has(two, "cuda:0 to cuda:1 are");
  expect_has(refusal(ExitCode::config, [&] { check_devices(map, 0); }), "no GPU is visible");
}

}  // namespace
}  // namespace dinfer
