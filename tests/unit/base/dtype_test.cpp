#include "base/dtype.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace dinfer {
namespace {

// binary16 by its definition: sign, 5 exponent bits (bias 15), 10 fraction bits.
double f16_by_definition(uint16_t bits) {
  const double sign = (bits >> 15) != 0 ? -1.0 : 1.0;
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  return exponent == 0 ? sign * std::ldexp(fraction, -24)
                       : sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Dtype, EveryF16ReadsAsItsDefinitionAndComesBack) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = f16_to_f32(bits);
    const double expected = f16_by_definition(bits);
    if (std::isnan(expected)) {
      ASSERT_TRUE(std::isnan(value)) << i;
      ASSERT_TRUE(std::isnan(f16_to_f32(f32_to_f16(value)))) << i;
    } else {
      ASSERT_EQ(value, expected) << i;
      ASSERT_EQ(f32_to_f16(value), bits) << i;
    }
  }
}

TEST(Dtype, EveryBf16ComesBack) {
  for (uint32_t i = 0; i <= 0xffff; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = bf16_to_f32(bits);
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(value)))) << i;
    } else {
      ASSERT_EQ(f32_to_bf16(value), bits) << i;
    }
  }
}

// Between neighbours a < b of a 16-bit format: below the middle rounds to a, above it to b, and
// the middle to the one whose last bit is 0.
template <class ToFloat, class FromFloat>
void expect_rounding(uint16_t largest_finite, ToFloat to_float, FromFloat from_float) {
  for (uint32_t i = 0; i < largest_finite; ++i) {
    const auto a = static_cast<uint16_t>(i);
    const auto b = static_cast<uint16_t>(i + 1);
    const float middle = static_cast<float>((double{to_float(a)} + double{to_float(b)}) / 2);
    ASSERT_EQ(from_float(middle), a % 2 == 0 ? a : b) << i;
    ASSERT_EQ(from_float(std::nextafter(middle, 0.0f)), a) << i;
    ASSERT_EQ(from_float(std::nextafter(middle, INFINITY)), b) << i;
    ASSERT_EQ(from_float(-middle), (a % 2 == 0 ? a : b) | 0x8000) << i;
  }
}

TEST(Dtype, RoundsToNearestEven) {
  expect_rounding(0x7bff, f16_to_f32, f32_to_f16);
  // bf16 subnormals are left out: the middle of two of them is no f32 of its own at the low end.
  for (uint32_t i = 0x80; i < 0x7f7f; ++i) {
    const uint32_t exact = i << 16;
    const auto even = static_cast<uint16_t>(i % 2 == 0 ? i : i + 1);
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(exact | 0x8000u)), even) << i;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(exact | 0x7fffu)), i) << i;
    ASSERT_EQ(f32_to_bf16(std::bit_cast<float>(exact | 0x8001u)), i + 1) << i;
  }
}

TEST(Dtype, TooLargeForF16IsInfinite) {
  EXPECT_EQ(f16_to_f32(f32_to_f16(65519.0f)), 65504.0f);
  EXPECT_TRUE(std::isinf(f16_to_f32(f32_to_f16(65520.0f))));
  EXPECT_TRUE(std::isinf(bf16_to_f32(f32_to_bf16(std::numeric_limits<float>::max()))));
}

}  // namespace
}  // namespace dinfer
