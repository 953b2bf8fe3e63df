#include "base/kv_type.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace dinfer {
namespace {

constexpr uint8_t kLargest = 0x7e;

// e4m3 by its definition: sign, 4 exponent bits (bias 7), 3 fraction bits.
double f8_by_definition(uint8_t bits) {
  const double sign = (bits >> 7) != 0 ? -1.0 : 1.0;
  const int exponent = (bits >> 3) & 15;
  const int fraction = bits & 7;
  return exponent == 0 ? sign * std::ldexp(fraction, -9)
                       : sign * std::ldexp(8 + fraction, exponent - 10);
}

TEST(F8, EveryNumberReadsAsItsDefinitionAndComesBack) {
  for (const int sign : {0, 0x80}) {
    for (int i = 0; i <= kLargest; ++i) {
      const auto bits = static_cast<uint8_t>(sign | i);
      ASSERT_EQ(f8_to_f32(bits), f8_by_definition(bits)) << i;
      ASSERT_EQ(f32_to_f8(f8_to_f32(bits)), bits) << i;
    }
  }
}

TEST(F8, RoundsToNearestEven) {
  for (uint8_t a = 0; a < kLargest; ++a) {
    const auto b = static_cast<uint8_t>(a + 1), even = a % 2 == 0 ? a : b;
    const float middle = (f8_to_f32(a) + f8_to_f32(b)) / 2;
    ASSERT_EQ(f32_to_f8(middle), even) << int{a};
    ASSERT_EQ(f32_to_f8(-middle), even | 0x80) << int{a};
    ASSERT_EQ(f32_to_f8(std::nextafter(middle, 0.0f)), a) << int{a};
    ASSERT_EQ(f32_to_f8(std::nextafter(middle, INFINITY)), b) << int{a};
  }
}

TEST(F8, WhatIsTooLargeIsBounded) {
  for (const float value : {449.0f, 1e30f, INFINITY, std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_EQ(f8_to_f32(f32_to_f8(value)), kMostF8) << value;
  }
  EXPECT_EQ(f8_to_f32(f32_to_f8(-1e30f)), -kMostF8);
}

}  // namespace
}  // namespace dinfer
