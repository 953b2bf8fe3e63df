// Mixtures of experts of every implementation of Device against the reference.

#include <gtest/gtest.h>

#include <cmath>

#include "tests/conformance/device_support.h"
#include "tests/support/reference_device.h"

namespace dinfer {
namespace {

constexpr float kEpsilon = 1e-5f;

// A layer: what its stacks hold, and how it chooses.
struct Layer {
  int64_t hidden = 64;
  int64_t ffn = 48;
  ExpertSpec spec{.experts = 8, .chosen = 2};
  int bits = 0;  // 0: bf16
  int group = 32;

  // Products keep about the size of their inputs.
  HostMatrix stack(int64_t rows, int64_t columns, unsigned seed) const {
    const float scale = 1 / std::sqrt(static_cast<float>(columns));
    if (bits == 0) {
      DenseMatrix values{.type = DType::bf16, .rows = rows, .columns = columns, .data = {}};
      for (const float value : random_floats(rows * columns, seed, scale)) {
        const uint16_t half = f32_to_bf16(value);
        const auto* at = reinterpret_cast<const std::byte*>(&half);
        values.data.insert(values.data.end(), at, at + sizeof half);
      }
      return values;
    }
    GroupedMatrix values = random_grouped(bits, group, bits == 8, true, rows, columns, seed);
    for (std::vector<float>* numbers : {&values.scales, &values.minimums})
      for (float& number : *numbers) number = f16_to_f32(f32_to_f16(number * scale));
    return values;
  }
};

std::ostream& operator<<(std::ostream& out, const Layer& l) {
  return out << l.hidden << " x " << l.ffn << ", " << l.spec.chosen << " of " << l.spec.experts
             << (l.spec.normalized ? " normalized" : "") << ", " << l.bits << " bits in groups of "
             << l.group;
}

// A layer on a device: the same values on each.
class LayerOn {
 public:
  LayerOn(Device& device, const Layer& layer, std::vector<float> router)
      : device_(device),
        layer_(layer),
        norm_(device, norm_of(layer)),
        router_(device.upload(f32_matrix(layer.spec.experts, layer.hidden, router))),
        gate_up_(device.upload_stack(
            layer.stack(layer.spec.experts * 2 * layer.ffn, layer.hidden, 22), layer.spec.experts)),
        down_(device.upload_stack(layer.stack(layer.spec.experts * layer.hidden, layer.ffn, 23),
                                  layer.spec.experts)) {}
  LayerOn(Device& device, const Layer& layer)
      : LayerOn(device, layer, random_floats(layer.spec.experts * layer.hidden, 24, 0.3f)) {}

  static std::vector<float> norm_of(const Layer& layer) { return random_floats(layer.hidden, 21); }

  const Weight& gate_up() const { return *gate_up_; }
  const Weight& down() const { return *down_; }
  void use_clones() {
    gate_up_ = device_.clone(*gate_up_);
    down_ = device_.clone(*down_);
  }

  void run(Tensor in, Tensor out, Output output) {
    device_.experts(in, norm_.data(), kEpsilon, *router_, *gate_up_, *down_, layer_.spec, out,
                    output);
  }

  // Of rows in memory of their own, added to `before` where there is one.
  std::vector<float> outputs(const std::vector<float>& rows,
                             const std::vector<float>& before = {}) {
    const int64_t count = std::ssize(rows) / layer_.hidden;
    const DeviceFloats in(device_, rows);
    const DeviceFloats out(device_, before.empty() ? std::vector<float>(rows.size(), NAN) : before);
    run(in.tensor(count, layer_.hidden), out.tensor(count, layer_.hidden),
        before.empty() ? Output::replaced : Output::added_to);
    return out.values();
  }

 private:
  static DenseMatrix f32_matrix(int64_t rows, int64_t columns, const std::vector<float>& values) {
    DenseMatrix matrix{.type = DType::f32, .rows = rows, .columns = columns, .data = {}};
    const auto bytes = std::as_bytes(std::span(values));
    matrix.data.assign(bytes.begin(), bytes.end());
    return matrix;
  }

  Device& device_;
  Layer layer_;
  DeviceFloats norm_;
  std::unique_ptr<Weight> router_, gate_up_, down_;
};

class DeviceExperts : public testing::TestWithParam<Implementation> {
 protected:
  double error(const Layer& layer, int64_t rows) {
    const std::vector<float> in = random_floats(rows * layer.hidden, 25);
    return relative_error(LayerOn(*device, layer).outputs(in),
                          LayerOn(*reference, layer).outputs(in));
  }
  // Of two products, one on the other's results.
  double tolerance() const { return 2 * GetParam().tolerance; }

  DeviceUnderTest device{GetParam()};
  std::unique_ptr<Device> reference = make_reference_device();
};

TEST_P(DeviceExperts, ChooseAnyNumberOfAnyNumber) {
  for (const int64_t experts : {1, 3, 8, 17, 128}) {
    for (const int64_t chosen : {int64_t{1}, int64_t{2}, (experts + 1) / 2, experts}) {
      if (chosen > experts) continue;
      for (const bool normalized : {true, false}) {
        const Layer layer{.ffn = 32,
                          .spec = {.experts = experts, .chosen = chosen, .normalized = normalized}};
        for (const int64_t rows : {1, 5}) EXPECT_LE(error(layer, rows), tolerance()) << layer;
      }
    }
  }
}

TEST_P(DeviceExperts, HaveAnyShape) {
  for (const auto& [hidden, ffn] :
       {std::pair{64, 12}, {64, 24}, {72, 36}, {96, 96}, {130, 144}, {256, 200}}) {
    for (const int64_t rows : {1, 2, 3, 17, 150}) {
      const Layer layer{.hidden = hidden, .ffn = ffn};
      EXPECT_LE(error(layer, rows), tolerance()) << layer << ", rows " << rows;
    }
  }
}

TEST_P(DeviceExperts, HaveWeightsOfAnyForm) {
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      for (const int64_t rows : {1, 2, 7, 40, 150}) {
        const Layer layer{.hidden = 256, .ffn = 128, .bits = bits, .group = group};
        EXPECT_LE(error(layer, rows), tolerance()) << layer << ", rows " << rows;
      }
    }
  }
  for (const int64_t rows : {1, 33}) {
    const Layer narrow{.hidden = 96, .ffn = 48, .bits = 4, .group = 16};
    EXPECT_LE(error(narrow, rows), tolerance()) << narrow << ", rows " << rows;
  }
}

TEST_P(DeviceExperts, HaveTheActivationAskedFor) {
  for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh}) {
    const Layer layer{.spec = {.experts = 4, .chosen = 2, .activation = activation}};
    EXPECT_LE(error(layer, 6), tolerance());
  }
}

TEST_P(DeviceExperts, OfEqualScoresTheLowerNumberIsChosen) {
  const Layer layer{.spec = {.experts = 6, .chosen = 2}};
  const std::vector<float> in = random_floats(3 * layer.hidden, 26);
  // All equal: 0 and 1. Then pairs of equals.
  for (const bool pairs : {false, true}) {
    std::vector<float> router(layer.spec.experts * layer.hidden, 0.0f);
    for (int64_t e = 0; pairs && e < layer.spec.experts; ++e) {
      const std::vector<float> row = random_floats(layer.hidden, 30 + e / 2);
      std::copy(row.begin(), row.end(), router.begin() + e * layer.hidden);
    }
    const auto expected = LayerOn(*reference, layer, router).outputs(in);
    EXPECT_LE(relative_error(LayerOn(*device, layer, router).outputs(in), expected), tolerance());
  }
}

// A router that looks at differences of one in a million: inputs rounded to bf16 or to integers of
// 15 bits have none.
TEST_P(DeviceExperts, ScoresDoNotSufferFromRounding) {
  const Layer layer{.spec = {.experts = 2, .chosen = 1}};
  std::vector<float> router(2 * layer.hidden, 0.0f), in(2 * layer.hidden, 1.0f);
  const std::vector<float> norm = LayerOn::norm_of(layer);
  router[0] = 1 / norm[0];
  router[layer.hidden + 1] = 1 / norm[1];
  in[0] = in[layer.hidden + 1] = 1.0f + 8e-6f;
  EXPECT_LE(relative_error(LayerOn(*device, layer, router).outputs(in),
                           LayerOn(*reference, layer, router).outputs(in)),
            tolerance());
}

TEST_P(DeviceExperts, AreAddedWhereAsked) {
  const Layer layer;
  for (const int64_t rows : {1, 4, 60}) {
    const std::vector<float> in = random_floats(rows * layer.hidden, 27);
    const std::vector<float> before = random_floats(rows * layer.hidden, 28);
    const auto expected = LayerOn(*reference, layer).outputs(in, before);
    EXPECT_LE(relative_error(LayerOn(*device, layer).outputs(in, before), expected), tolerance());
  }
}

TEST_P(DeviceExperts, MayWriteToTheirInput) {
  const Layer layer;
  for (const Output output : {Output::replaced, Output::added_to}) {
    for (const int64_t rows : {1, 9}) {
      std::vector<float> results[2];
      Device* devices[2] = {&*device, reference.get()};
      for (int i = 0; i < 2; ++i) {
        const DeviceFloats both(*devices[i], random_floats(rows * layer.hidden, 29));
        const Tensor tensor = both.tensor(rows, layer.hidden);
        LayerOn(*devices[i], layer).run(tensor, tensor, output);
        results[i] = both.values();
      }
      EXPECT_LE(relative_error(results[0], results[1]), tolerance()) << rows;
    }
  }
}

TEST_P(DeviceExperts, TakeNoRows) {
  const Layer layer;
  LayerOn own(*device, layer);
  const DeviceFloats in(*device, std::vector<float>(layer.hidden, 1.0f));
  own.run(in.tensor(0, layer.hidden), in.tensor(0, layer.hidden), Output::added_to);
  EXPECT_EQ(in.values(), std::vector<float>(layer.hidden, 1.0f));
}

TEST_P(DeviceExperts, StacksKnowTheirSizeAndCanBeCloned) {
  for (const int bits : {0, 4}) {
    const Layer layer{.hidden = 96, .ffn = 32, .bits = bits};
    LayerOn own(*device, layer);
    EXPECT_EQ(own.gate_up().rows(), layer.spec.experts * 2 * layer.ffn);
    EXPECT_EQ(own.gate_up().columns(), layer.hidden);
    EXPECT_EQ(own.down().rows(), layer.spec.experts * layer.hidden);
    const int64_t elements = own.down().rows() * own.down().columns();
    EXPECT_GE(own.down().bytes(), elements * (bits == 0 ? 16 : bits) / 8);
    EXPECT_LE(own.down().bytes(), elements * 4);
    const std::vector<float> in = random_floats(3 * layer.hidden, 31);
    const auto expected = own.outputs(in);
    own.use_clones();
    EXPECT_EQ(own.outputs(in), expected);
  }
}

TEST_P(DeviceExperts, ARowGivesTheSameBitsAloneAndInABatch) {
  if (!GetParam().same_bits_in_any_batch) GTEST_SKIP() << "kernels differ by the number of rows";
  for (const int bits : {0, 4, 8}) {
    const Layer layer{.hidden = 288, .ffn = 96, .bits = bits};
    LayerOn own(*device, layer);
    const std::vector<float> in = random_floats(23 * layer.hidden, 32);
    std::vector<float> alone;
    for (int64_t row = 0; row < 23; ++row) {
      const auto begin = in.begin() + row * layer.hidden;
      const auto out = own.outputs({begin, begin + layer.hidden});
      alone.insert(alone.end(), out.begin(), out.end());
    }
    EXPECT_EQ(own.outputs(in), alone) << bits << " bits";
  }
}

TEST_P(DeviceExperts, ResultsDoNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "a GPU has no threads to choose";
  const Layer layer{.hidden = 2304, .ffn = 96, .bits = 4};
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    Implementation other = GetParam();
    other.options.threads = threads;
    DeviceUnderTest device(other);
    LayerOn own(*device, layer);
    results.push_back(own.outputs(random_floats(layer.hidden, 33)));
    results.push_back(own.outputs(random_floats(40 * layer.hidden, 34)));
  }
  EXPECT_EQ(results[0], results[2]);
  EXPECT_EQ(results[1], results[3]);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceExperts, testing::ValuesIn(implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer
