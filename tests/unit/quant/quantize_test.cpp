#include "quant/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "quant/grouped.h"

namespace dinfer {
namespace {

DenseMatrix dense(int64_t rows, int64_t columns, const std::vector<float>& values) {
  DenseMatrix matrix{DType::f32, rows, columns, {}};
  matrix.data.resize(values.size() * sizeof(float));
  std::memcpy(matrix.data.data(), values.data(), matrix.data.size());
  return matrix;
}

std::vector<float> random_values(int64_t count, uint32_t seed, float spread) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

class Quantize : public testing::TestWithParam<QuantSpec> {};

TEST_P(Quantize, ErrsByHalfAStepAtMost) {
  const QuantSpec spec = GetParam();
  for (const float spread : {1e-4f, 0.02f, 30.0f}) {
    const auto values = random_values(4 * 256, 1, spread);
    const GroupedMatrix matrix = quantize(dense(4, 256, values), spec);
    const std::vector<float> rounded = dequantize(matrix);
    for (size_t i = 0; i < values.size(); ++i) {
      const float most = 0.50001f * matrix.scales[i / spec.group];
      ASSERT_LE(std::fabs(values[i] - rounded[i]), most) << i << " of spread " << spread;
    }
  }
}

TEST_P(Quantize, HasScalesThatF16Holds) {
  const GroupedMatrix matrix = quantize(dense(2, 256, random_values(512, 2, 0.3f)), GetParam());
  EXPECT_EQ(matrix.symmetric(), GetParam().bits == 8);
  EXPECT_EQ(matrix.group, GetParam().group);
  for (const float scale : matrix.scales) EXPECT_EQ(scale, f16_to_f32(f32_to_f16(scale)));
  for (const float minimum : matrix.minimums) EXPECT_EQ(minimum, f16_to_f32(f32_to_f16(minimum)));
}

TEST_P(Quantize, KeepsZerosAndConstants) {
  std::vector<float> values(256, 0.0f);
  EXPECT_EQ(dequantize(quantize(dense(1, 256, values), GetParam())), values);
  std::fill(values.begin(), values.end(), GetParam().bits == 8 ? 127.0f : 0.75f);
  EXPECT_EQ(dequantize(quantize(dense(1, 256, values), GetParam())), values);
}

TEST_P(Quantize, RefusesWeightsBeyondF16) {
  std::vector<float> values(128, 0.0f);
  values[70] = 1e6f;
  EXPECT_THROW(quantize(dense(1, 128, values), GetParam()), Error);
}

INSTANTIATE_TEST_SUITE_P(Specs, Quantize,
                         testing::Values(QuantSpec{8, 32}, QuantSpec{8, 64}, QuantSpec{8, 128},
                                         QuantSpec{4, 32}, QuantSpec{4, 64}, QuantSpec{4, 128}),
                         [](const auto& info) {
                           return fmt::format("{}bitsGroup{}", info.param.bits, info.param.group);
                         });

TEST(Quantize8, IsExactOnItsOwnGrid) {
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[i] = 0.5f * static_cast<float>(i * 8 - 127);
  values[31] = 63.5f;
  EXPECT_EQ(dequantize(quantize(dense(1, 32, values), {8, 32})), values);
}

TEST(Quantize4, IsExactOnItsOwnGrid) {
  std::vector<float> values(32);
  for (int i = 0; i < 32; ++i) values[i] = 0.25f * static_cast<float>(i % 16) - 1.0f;
  EXPECT_EQ(dequantize(quantize(dense(1, 32, values), {4, 32})), values);
}

// Every form of the family, from the same random numbers.
std::vector<HostMatrix> all_forms(int64_t rows, int64_t columns) {
  std::vector<HostMatrix> forms;
  std::mt19937 random(5);
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 128}) {
      for (const bool symmetric : {true, false}) {
        GroupedMatrix matrix = make_grouped(bits, group, symmetric, rows, columns);
        for (uint8_t& code : matrix.codes) code = static_cast<uint8_t>(random());
        // Scales with all the bits that a K type's have: f16 times 7 bits.
        for (float& scale : matrix.scales) {
          scale = f16_to_f32(static_cast<uint16_t>(0x2c00 + random() % 1024)) *
                  static_cast<float>(random() % 128);
        }
        for (float& minimum : matrix.minimums) minimum = -static_cast<float>(random() % 1000) / 64;
        forms.push_back(std::move(matrix));
      }
    }
  }
  forms.push_back(dense(rows, columns, random_values(rows * columns, 6, 1.0f)));
  DenseMatrix bf16{DType::bf16, rows, columns, {}};
  for (int64_t i = 0; i < rows * columns; ++i) {
    const uint16_t bits = f32_to_bf16(static_cast<float>(i) - 100);
    const auto* bytes = reinterpret_cast<const std::byte*>(&bits);
    bf16.data.insert(bf16.data.end(), bytes, bytes + 2);
  }
  forms.push_back(bf16);
  return forms;
}

TEST(StackRows, LosesNothingWhateverTheForms) {
  const std::vector<HostMatrix> forms = all_forms(3, 128);
  for (const HostMatrix& a : forms) {
    for (const HostMatrix& b : forms) {
      const HostMatrix stacked = stack_rows({a, b});
      EXPECT_EQ(rows_of(stacked), 6);
      std::vector<float> expected = dequantize(a);
      const std::vector<float> second = dequantize(b);
      expected.insert(expected.end(), second.begin(), second.end());
      ASSERT_EQ(dequantize(stacked), expected) << &a - forms.data() << " " << &b - forms.data();
    }
  }
}

TEST(StackRows, KeepsAFormThatAllShare) {
  const std::vector<HostMatrix> forms = all_forms(2, 128);
  for (const HostMatrix& form : forms) {
    const HostMatrix stacked = stack_rows({form, form, form});
    ASSERT_EQ(stacked.index(), form.index());
    if (const auto* grouped = std::get_if<GroupedMatrix>(&form)) {
      const auto& result = std::get<GroupedMatrix>(stacked);
      EXPECT_EQ(result.bits, grouped->bits);
      EXPECT_EQ(result.group, grouped->group);
      EXPECT_EQ(result.symmetric(), grouped->symmetric());
    } else {
      EXPECT_EQ(std::get<DenseMatrix>(stacked).type, std::get<DenseMatrix>(form).type);
    }
  }
}

TEST(StackRows, RefusesDifferentWidths) {
  EXPECT_THROW(stack_rows({dense(1, 2, {1, 2}), dense(1, 1, {1})}), Bug);
}

TEST(PermuteRows, MovesEachRowWhole) {
  const std::vector<int64_t> order{2, 0, 1};
  for (const HostMatrix& form : all_forms(3, 128)) {
    const std::vector<float> before = dequantize(form);
    const std::vector<float> after = dequantize(permute_rows(form, order));
    for (int64_t row = 0; row < 3; ++row) {
      EXPECT_TRUE(std::equal(after.begin() + row * 128, after.begin() + (row + 1) * 128,
                             before.begin() + order[row] * 128));
    }
  }
}

TEST(PermuteRows, RefusesARowThatIsNotThere) {
  EXPECT_THROW(permute_rows(dense(2, 1, {1, 2}), std::vector<int64_t>{0, 2}), Bug);
  EXPECT_THROW(permute_rows(dense(2, 1, {1, 2}), std::vector<int64_t>{0}), Bug);
}

}  // namespace
}  // namespace dinfer
