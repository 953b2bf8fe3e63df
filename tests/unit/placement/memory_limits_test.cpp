#include "placement/memory_limits.h"

#include <gtest/gtest.h>

#include "tests/unit/placement/refusal.h"

namespace dinfer {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(MemoryLimits, AListNamesDevicesAndSizes) {
  const auto limits = parse_memory_limits("0=20GiB,12=512MiB,cpu=1GiB");
  ASSERT_TRUE(limits);
  ASSERT_EQ(limits->size(), 3u);
  EXPECT_EQ((*limits)[0].device.text(), "cuda:0");
  EXPECT_EQ((*limits)[0].bytes, 20 * kGiB);
  EXPECT_EQ((*limits)[1].device.text(), "cuda:12");
  EXPECT_EQ((*limits)[1].bytes, kGiB / 2);
  EXPECT_TRUE((*limits)[2].device.cpu);
}

TEST(MemoryLimits, WhatIsNoListIsNone) {
  for (const std::string text : {"",
                                 "0",
                                 "0=",
                                 "=1GiB",
                                 "0=20",
                                 "0=20GB",
                                 "0=20gib",
                                 "0=0GiB",
                                 "0=-1GiB",
                                 "-1=1GiB",
                                 "0=1.5GiB",
                                 "0=1GiB,",
                                 ",0=1GiB",
                                 "0=1GiB;1=1GiB",
                                 "0=1GiB,0=2GiB",
                                 "0 = 1GiB",
                                 "gpu=1GiB",
                                 "65536=1GiB",
                                 "0=99999999999999999999GiB",
                                 "0=1073741825GiB",
                                 "0=GiB",
                                 "0=1GiB,cpu"}) {
    EXPECT_FALSE(parse_memory_limits(text)) << text;
  }
  EXPECT_TRUE(parse_memory_limits("0=1073741824GiB"));
}

TEST(MemoryLimits, ADeviceHasTheLeastOfItsLimitAndWhatIsFree) {
  EXPECT_EQ(limited_memory("0=20GiB", "cuda:0", 80 * kGiB), 20 * kGiB);
  EXPECT_EQ(limited_memory("0=20GiB", "cuda:0", 8 * kGiB), 8 * kGiB);
  EXPECT_EQ(limited_memory("0=20GiB", "cuda:1", 80 * kGiB), 80 * kGiB);
  EXPECT_EQ(limited_memory("0=20GiB", "cpu", 80 * kGiB), 80 * kGiB);
  EXPECT_EQ(limited_memory("", "cpu", 80 * kGiB), 80 * kGiB);
}

TEST(MemoryLimits, DevicesThatAreNotThereAreNamed) {
  check_memory_limits("1=20GiB", {"cuda:0", "cuda:1"});
  check_memory_limits("", {});
  const std::string message = test::refusal(ExitCode::config, [] {
    check_memory_limits("0=1GiB,3=20GiB", {"cuda:1", "cuda:0", "cuda:0"});
  });
  test::expect_has(message, "limits cuda:3");
  test::expect_has(message, "cuda:0, cuda:1 (");
  test::expect_has(message, "the ranks of a host");
}

}  // namespace
}  // namespace dinfer
