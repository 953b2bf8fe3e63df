#include "model/rope.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "base/error.h"
#include "tests/support/reference_device.h"

namespace dinfer {
namespace {

// Expected frequencies are those of Hugging Face's modeling_rope_utils (5.17.0) in float32.

ModelConfig model(int64_t head_dim, int64_t max_position, const RopeConfig& rope) {
  ModelConfig config;
  config.head_dim = head_dim;
  config.max_position = max_position;
  config.rope = rope;
  return config;
}

void expect_frequencies(const RopeFrequencies& actual, const std::vector<float>& expected,
                        float attention_factor) {
  ASSERT_EQ(actual.inverse.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(actual.inverse[i], expected[i], 4e-7f * expected[i]) << "pair " << i;
  }
  EXPECT_FLOAT_EQ(actual.attention_factor, attention_factor);
}

RopeConfig longrope() {
  return {.type = RopeType::longrope,
          .partial_rotary_factor = 0.75,
          .original_max_position = 4096,
          .short_factor = {1.0, 1.05, 1.1, 1.2, 1.3, 1.5},
          .long_factor = {1.1, 1.4, 2.0, 4.5, 16.0, 60.0}};
}

TEST(Rope, PlainFrequenciesFallGeometrically) {
  expect_frequencies(rope_frequencies(model(8, 512, {}), 1), {1.0f, 0.1f, 0.01f, 0.001f}, 1.0f);
}

TEST(Rope, LinearDividesByTheFactor) {
  expect_frequencies(
      rope_frequencies(model(16, 2048, {.type = RopeType::linear, .factor = 4.0}), 1),
      {0.25f, 0.079056941f, 0.0250000004f, 0.00790569466f, 0.00249999994f, 0.000790569466f,
       0.000250000012f, 7.90569466e-05f},
      1.0f);
}

TEST(Rope, DynamicKeepsTheBaseUpToTheModelsContextAndRaisesItBeyond) {
  const ModelConfig config = model(16, 2048, {.type = RopeType::dynamic, .factor = 2.0});
  expect_frequencies(rope_frequencies(config, 2048),
                     {1.0f, 0.316227764f, 0.100000001f, 0.0316227786f, 0.00999999978f,
                      0.00316227786f, 0.00100000005f, 0.000316227786f},
                     1.0f);
  expect_frequencies(rope_frequencies(config, 5000),
                     {1.0f, 0.260517091f, 0.0678691566f, 0.0176810753f, 0.00460622227f,
                      0.00119999971f, 0.000312620425f, 8.14429659e-05f},
                     1.0f);
}

TEST(Rope, Llama3StretchesOnlyLongWavelengths) {
  const RopeConfig rope{.type = RopeType::llama3,
                        .theta = 500000.0,
                        .factor = 32.0,
                        .low_frequency_factor = 1.0,
                        .high_frequency_factor = 4.0,
                        .original_max_position = 8192};
  expect_frequencies(rope_frequencies(model(64, 131072, rope), 1),
                     {1.0f,
                      0.663601279f,
                      0.440366626f,
                      0.292227834f,
                      0.193922758f,
                      0.128687382f,
                      0.0853971019f,
                      0.0566696189f,
                      0.0376060307f,
                      0.0249554086f,
                      0.0165604409f,
                      0.0109895291f,
                      0.00729266508f,
                      0.00483942125f,
                      0.00321144611f,
                      0.00129054801f,
                      0.000429556705f,
                      9.70828623e-05f,
                      1.94616387e-05f,
                      1.29147675e-05f,
                      8.57025589e-06f,
                      5.68723226e-06f,
                      3.77405445e-06f,
                      2.50446715e-06f,
                      1.66196742e-06f,
                      1.10288363e-06f,
                      7.31874934e-07f,
                      4.85673127e-07f,
                      3.22293289e-07f,
                      2.1387423e-07f,
                      1.41927202e-07f,
                      9.41830649e-08f},
                     1.0f);
}

TEST(Rope, YarnBlendsBetweenItsBetas) {
  RopeConfig rope{
      .type = RopeType::yarn, .theta = 1000000.0, .factor = 4.0, .original_max_position = 32768};
  const std::vector<float> truncated = {1.0f,
                                        0.421696514f,
                                        0.177827939f,
                                        0.0749894157f,
                                        0.0316227786f,
                                        0.0133352149f,
                                        0.00477990136f,
                                        0.00165996165f,
                                        0.000549999997f,
                                        0.000168678584f,
                                        4.44569851e-05f,
                                        1.87473561e-05f,
                                        7.90569356e-06f,
                                        3.33380353e-06f,
                                        1.40585337e-06f,
                                        5.92843435e-07f};
  expect_frequencies(rope_frequencies(model(32, 131072, rope), 1), truncated, 1.13862944f);

  rope.mscale = 0.707;
  rope.mscale_all_dim = 1.0;
  expect_frequencies(rope_frequencies(model(32, 131072, rope), 1), truncated, 0.964326915f);

  rope.attention_factor = 1.25;
  expect_frequencies(rope_frequencies(model(32, 131072, rope), 1), truncated, 1.25f);
}

TEST(Rope, YarnWithoutTruncationUsesFractionalBounds) {
  const RopeConfig rope{.type = RopeType::yarn,
                        .theta = 1000000.0,
                        .factor = 4.0,
                        .original_max_position = 32768,
                        .beta_fast = 16.0,
                        .beta_slow = 2.0,
                        .truncate = false};
  expect_frequencies(
      rope_frequencies(model(32, 131072, rope), 1),
      {1.0f, 0.421696514f, 0.177827939f, 0.0749894157f, 0.0316227786f, 0.0133352149f,
       0.00562341325f, 0.00215109834f, 0.000595679972f, 0.000119866876f, 4.44569851e-05f,
       1.87473561e-05f, 7.90569356e-06f, 3.33380353e-06f, 1.40585337e-06f, 5.92843435e-07f},
      1.13862944f);
}

TEST(Rope, LongropeTakesTheFactorsOfTheLengthAndDerivesItsAttentionFactor) {
  const ModelConfig config = model(16, 131072, longrope());
  expect_frequencies(
      rope_frequencies(config, 4096),
      {1.0f, 0.205184266f, 0.0421962552f, 0.00833333284f, 0.00165725732f, 0.000309439318f},
      1.19023807f);
  expect_frequencies(
      rope_frequencies(config, 4097),
      {0.909090877f, 0.153888181f, 0.023207942f, 0.00222222228f, 0.000134652146f, 7.73598276e-06f},
      1.19023807f);
}

TEST(Rope, DivisorsOfGgufOverrideTheTypesScaling) {
  const RopeConfig rope{
      .type = RopeType::linear, .factor = 4.0, .frequency_divisors = {1.0, 2.0, 4.0, 32.0}};
  expect_frequencies(rope_frequencies(model(8, 512, rope), 1),
                     {1.0f, 0.05f, 0.0025f, 0.001f / 32.0f}, 1.0f);
}

TEST(Rope, RefusesFactorsOfTheWrongLength) {
  RopeConfig rope = longrope();
  rope.long_factor.pop_back();
  try {
    rope_frequencies(model(16, 131072, rope), 5000);
    FAIL() << "five factors for six pairs were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::model_files);
    EXPECT_NE(std::string(error.what()).find("long_factor has 5"), std::string::npos);
  }
}

TEST(Rope, RefusesAnOddNumberOfRotatedValues) {
  EXPECT_EQ(rotary_dim(model(80, 512, {.partial_rotary_factor = 0.4})), 32);
  EXPECT_THROW(rotary_dim(model(10, 512, {.partial_rotary_factor = 0.5})), Error);
  EXPECT_THROW(rotary_dim(model(16, 512, {.partial_rotary_factor = 1.5})), Error);
}

TEST(Rope, TablesHoldCosineAndSineOfEveryPosition) {
  const auto device = make_reference_device();
  const ModelConfig config = model(8, 512, {.type = RopeType::yarn, .attention_factor = 2.0});
  Rope rope(*device, config, 20);
  rope.prepare(20);
  ASSERT_EQ(rope.of_layers(false).size(), 1u);
  const RopeTable& table = rope.of_layers(false)[0];
  EXPECT_EQ(table.positions, 20);
  EXPECT_EQ(table.rotary_dim, 8);
  const std::vector<float> inverse = rope_frequencies(config, 20).inverse;
  for (int64_t position : {0, 1, 19}) {
    for (int64_t i = 0; i < 4; ++i) {
      const double angle = static_cast<double>(position) * inverse[static_cast<size_t>(i)];
      EXPECT_NEAR(table.cosine[position * 4 + i], 2.0 * std::cos(angle), 1e-5);
      EXPECT_NEAR(table.sine[position * 4 + i], 2.0 * std::sin(angle), 1e-5);
    }
  }
}

TEST(Rope, ASequencesTableFollowsFromTheLengthItMayComeTo) {
  const auto device = make_reference_device();
  const ModelConfig config = model(16, 131072, longrope());
  Rope rope(*device, config, 6000);
  rope.prepare(1);
  ASSERT_EQ(rope.of_layers(false).size(), 2u);
  EXPECT_EQ(rope.table_for(4096), 0);
  EXPECT_EQ(rope.table_for(4097), 1);
  const float factor = 1.19023807f;
  EXPECT_NEAR(rope.of_layers(false)[0].sine[6], std::sin(1.0) * factor, 1e-6);
  EXPECT_NEAR(rope.of_layers(false)[1].sine[6], std::sin(0.909090877) * factor, 1e-6);

  const Rope short_only(*device, config, 4096);
  EXPECT_EQ(short_only.of_layers(false).size(), 1u);
  EXPECT_EQ(Rope::bytes_per_position(config, 6000), 2u * 2u * 6u * 4u);
  EXPECT_EQ(Rope::bytes_per_position(config, 4096), 2u * 6u * 4u);
}

TEST(Rope, SomeLayersMayHaveTablesOfTheirOwn) {
  const auto device = make_reference_device();
  ModelConfig config = model(8, 512, {.type = RopeType::linear, .theta = 1e6, .factor = 8.0});
  EXPECT_EQ(Rope::bytes_per_position(config, 20), 2u * 4u * 4u);
  config.other_rope = RopeConfig{.theta = 1e4};
  EXPECT_EQ(Rope::bytes_per_position(config, 20), 2u * 2u * 4u * 4u);
  Rope rope(*device, config, 20);
  rope.prepare(20);
  ASSERT_EQ(rope.of_layers(true).size(), 1u);
  for (const auto& [other, turn] : {std::pair{false, 1.0 / 8}, {true, 1.0}}) {
    const RopeTable& table = rope.of_layers(other)[0];
    const double second = turn * std::pow(other ? 1e4 : 1e6, -0.25);
    EXPECT_NEAR(table.sine[19 * 4], std::sin(19 * turn), 1e-5);
    EXPECT_NEAR(table.sine[19 * 4 + 1], std::sin(19 * second), 1e-5);
  }
}

TEST(Rope, LayersMayNotRotateAtAll) {
  const auto device = make_reference_device();
  ModelConfig config = model(8, 512, {});
  config.other_rope = RopeConfig{.type = RopeType::still};
  Rope rope(*device, config, 20);
  rope.prepare(20);
  const RopeTable& table = rope.of_layers(true)[0];
  for (int64_t i = 0; i < 20 * 4; ++i) {
    EXPECT_EQ(table.cosine[i], 1.0f);
    EXPECT_EQ(table.sine[i], 0.0f);
  }
}

TEST(Rope, RowsComeAsSequencesReachThem) {
  const auto device = make_reference_device();
  const ModelConfig config = model(8, 512, {});
  Rope rope(*device, config, 10'000);
  const auto expect_row = [&](int64_t position) {
    const float angle = static_cast<float>(position) * rope_frequencies(config, 1).inverse[1];
    EXPECT_NEAR(rope.of_layers(false)[0].cosine[position * 4 + 1], std::cos(angle), 1e-5)
        << position;
    EXPECT_NEAR(rope.of_layers(false)[0].sine[position * 4 + 1], std::sin(angle), 1e-5) << position;
  };
  rope.prepare(5);
  expect_row(4);
  rope.prepare(9000);
  for (const int64_t position : {4, 4095, 4096, 8999}) expect_row(position);
  rope.prepare(3);
  rope.prepare(10'000);
  expect_row(9999);
  EXPECT_THROW(rope.prepare(10'001), Bug);
}

}  // namespace
}  // namespace dinfer
