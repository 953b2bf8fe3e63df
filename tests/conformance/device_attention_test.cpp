// Attention of every implementation of Device against the reference.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "tests/conformance/device_support.h"
#include "tests/support/reference_device.h"

namespace dinfer {
namespace {

struct Shape {
  int64_t heads = 4;
  int64_t kv_heads = 2;
  int64_t head_dim = 64;
  int64_t rotary_dim = 64;
  int64_t window = 0;
  bool norms = false;
  bool f8 = false;
};

constexpr int kBlockSize = 16;
constexpr int64_t kPositions = 1024;
constexpr int64_t kBlocks = 192;

// What a sequence adds in one step.
struct Addition {
  int64_t sequence;
  int64_t tokens;
};

// A device with a cache, and sequences that grow by steps.
class Runner {
 public:
  Runner(Device& device, const Shape& shape) : device_(device), shape_(shape) {
    const int64_t elements = kBlocks * shape.kv_heads * kBlockSize * shape.head_dim;
    keys_ = device.allocate(elements * bytes_of(kv_type()));
    values_ = device.allocate(elements * bytes_of(kv_type()));
    const int64_t half = shape.rotary_dim / 2;
    std::vector<float> cosine, sine;
    for (int64_t p = 0; p < kPositions; ++p) {
      for (int64_t i = 0; i < half; ++i) {
        const double angle = p * std::pow(10000.0, -static_cast<double>(i) / half);
        cosine.push_back(static_cast<float>(std::cos(angle)));
        sine.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    cosine_.emplace(device, cosine);
    sine_.emplace(device, sine);
    q_norm_.emplace(device, random_floats(shape.head_dim, 10));
    k_norm_.emplace(device, random_floats(shape.head_dim, 11));
    // Blocks of the sequences lie across each other and out of order.
    std::vector<int32_t> order(kBlocks);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), std::mt19937(12));
    for (int s = 0; s < 3; ++s) {
      blocks_.emplace_back(order.begin() + s * 64, order.begin() + (s + 1) * 64);
    }
  }

  // Values depend on the sequence and position alone, so that any batching computes the same.
  std::vector<float> step(const std::vector<Addition>& additions) {
    std::vector<SequenceChunk> chunks;
    const int64_t width = (shape_.heads + 2 * shape_.kv_heads) * shape_.head_dim;
    std::vector<float> qkv;
    int64_t rows = 0;
    for (const auto& [s, tokens] : additions) {
      chunks.push_back({rows, tokens, lengths_[s], blocks_[s]});
      for (int64_t t = 0; t < tokens; ++t) {
        const auto row = random_floats(width, static_cast<unsigned>(s * 5000 + lengths_[s] + t));
        qkv.insert(qkv.end(), row.begin(), row.end());
      }
      rows += tokens;
      lengths_[s] += tokens;
    }
    const int64_t out_width = shape_.heads * shape_.head_dim;
    const DeviceFloats input(device_, qkv);
    const DeviceFloats out(device_, std::vector<float>(rows * out_width, NAN));
    const AttentionSpec spec{.heads = shape_.heads,
                             .scale = 1.0f / std::sqrt(static_cast<float>(shape_.head_dim)),
                             .window = shape_.window,
                             .q_norm = shape_.norms ? q_norm_->data() : nullptr,
                             .k_norm = shape_.norms ? k_norm_->data() : nullptr};
    const RopeTable rope{cosine_->data(), sine_->data(), kPositions, shape_.rotary_dim};
    const KvLayer cache{keys_->data(), values_->data(), kv_type(),
                        kBlockSize,    shape_.kv_heads, shape_.head_dim};
    const std::vector<int32_t> tokens(rows);
    device_.run({.tokens = tokens, .chunks = chunks}, false, [&] {
      device_.attend(input.tensor(rows, width), spec, {&rope, 1}, cache,
                     out.tensor(rows, out_width));
    });
    return out.values();
  }

 private:
  KvType kv_type() const { return shape_.f8 ? KvType::f8 : device_.kv_type(); }

  Device& device_;
  Shape shape_;
  std::unique_ptr<Buffer> keys_, values_;
  std::optional<DeviceFloats> cosine_, sine_, q_norm_, k_norm_;
  std::vector<std::vector<int32_t>> blocks_;
  int64_t lengths_[3] = {};
};

class DeviceAttention : public testing::TestWithParam<Implementation> {
 protected:
  // Runs the steps on both devices and compares what each step gives, with either kind of cache.
  void expect_equal(Shape shape, const std::vector<std::vector<Addition>>& steps) {
    compare(shape, steps);
    shape.f8 = true;
    if (!GetParam().cuda || shape.head_dim % 16 == 0) compare(shape, steps);
  }
  void compare(const Shape& shape, const std::vector<std::vector<Addition>>& steps) {
    Runner actual(*device, shape), expected(*reference, shape);
    for (size_t i = 0; i < steps.size(); ++i) {
      EXPECT_LE(relative_error(actual.step(steps[i]), expected.step(steps[i])), tolerance(shape))
          << "step " << i << ", head_dim " << shape.head_dim << ", heads " << shape.heads << "/"
          << shape.kv_heads << ", window " << shape.window << (shape.f8 ? ", f8" : "");
    }
  }
  double tolerance(const Shape& shape) {
    // Keys and values of 16 bits, or of 8 on both devices, where few are rounded to different ones.
    constexpr double kShortCache = 3e-3;
    return device->kv_type() == KvType::f32 && !shape.f8
               ? GetParam().tolerance
               : std::max(GetParam().tolerance, kShortCache);
  }

  DeviceUnderTest device{GetParam()};
  std::unique_ptr<Device> reference = make_reference_device();
};

TEST_P(DeviceAttention, PromptThenTokensForEveryHeadSize) {
  for (const int64_t dim : {16, 32, 64, 72, 80, 96, 128, 160, 200, 256}) {
    expect_equal({.head_dim = dim, .rotary_dim = dim}, {{{0, 70}}, {{0, 1}}, {{0, 1}}, {{0, 2}}});
  }
}

TEST_P(DeviceAttention, SharesKvHeadsInEveryRatio) {
  for (const auto& [heads, kv_heads] : {std::pair{9, 3}, {4, 4}, {8, 1}, {1, 1}, {20, 1}}) {
    expect_equal({.heads = heads, .kv_heads = kv_heads}, {{{0, 37}}, {{0, 1}}});
  }
}

TEST_P(DeviceAttention, RotatesOnlyAPartAndNormsQueriesAndKeys) {
  expect_equal({.rotary_dim = 32}, {{{0, 20}}, {{0, 1}}});
  expect_equal({.rotary_dim = 0}, {{{0, 20}}, {{0, 1}}});
  expect_equal({.head_dim = 80, .rotary_dim = 20, .norms = true}, {{{0, 20}}, {{0, 1}}});
}

TEST_P(DeviceAttention, LongContextsAndPromptsInPieces) {
  expect_equal({}, {{{0, 300}}, {{0, 200}}, {{0, 100}}, {{0, 1}}, {{0, 1}}});
}

TEST_P(DeviceAttention, SlidingWindows) {
  for (const int64_t window : {1, 5, 64, 100, 400}) {
    expect_equal({.window = window}, {{{0, 150}}, {{0, 1}}, {{0, 250}}, {{0, 1}}, {{0, 3}}});
  }
}

TEST_P(DeviceAttention, BatchesMixPromptsAndTokensOfSeveralSequences) {
  expect_equal({}, {{{0, 50}, {1, 3}},
                    {{0, 1}, {1, 1}, {2, 40}},
                    {{2, 1}, {0, 1}, {1, 90}},
                    {{0, 1}, {1, 1}, {2, 1}}});
}

TEST_P(DeviceAttention, SequenceGivesTheSameBitsAloneAndInABatch) {
  if (!GetParam().same_bits_in_any_batch) GTEST_SKIP() << "contexts are cut by what else runs";
  for (const bool f8 : {false, true}) {
    Runner together(*device, {.f8 = f8}), alone(*device, {.f8 = f8});
    const auto first = together.step({{0, 60}, {1, 45}});
    auto lone = alone.step({{0, 60}});
    const auto lone_second = alone.step({{1, 45}});
    lone.insert(lone.end(), lone_second.begin(), lone_second.end());
    EXPECT_EQ(first, lone);
    const auto tokens = together.step({{0, 1}, {1, 1}});
    auto lone_tokens = alone.step({{0, 1}});
    const auto other = alone.step({{1, 1}});
    lone_tokens.insert(lone_tokens.end(), other.begin(), other.end());
    EXPECT_EQ(tokens, lone_tokens);
  }
}

INSTANTIATE_TEST_SUITE_P(All, DeviceAttention, testing::ValuesIn(implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer
