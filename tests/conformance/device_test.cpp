// Every implementation of Device against the reference: weights of all forms, and what is not
// attention.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/conformance/device_support.h"
#include "tests/support/reference_device.h"

namespace dinfer {
namespace {

struct Form {
  std::string name;
  std::function<HostMatrix(int64_t rows, int64_t columns)> make;
  int64_t column_unit;
};

std::vector<Form> forms() {
  std::vector<Form> all;
  for (const DType type : {DType::f32, DType::f16, DType::bf16}) {
    all.push_back({std::string(name_of(type)),
                   [=](int64_t r, int64_t c) { return random_dense(type, r, c, 1); }, 1});
  }
  for (const int bits : {4, 8}) {
    for (const int group : {16, 32, 64, 128}) {
      for (const bool symmetric : {true, false}) {
        for (const bool half : {true, false}) {
          all.push_back({fmt::format("{} bits, group {}, {}, {} scales", bits, group,
                                     symmetric ? "symmetric" : "asymmetric", half ? "f16" : "f32"),
                         [=](int64_t r, int64_t c) {
                           return random_grouped(bits, group, symmetric, half, r, c, 1);
                         },
                         group});
        }
      }
    }
  }
  return all;
}

class DeviceConformance : public testing::TestWithParam<Implementation> {
 protected:
  double tolerance() const { return GetParam().tolerance; }

  DeviceUnderTest device{GetParam()};
  std::unique_ptr<Device> reference = make_reference_device();
};

using Linear =
    std::function<void(Device&, Tensor in, const Weight&, const float* bias, Tensor out)>;

// The same call on the device and on the reference; returns the relative error.
double compare(Device& device, Device& reference, const HostMatrix& matrix, int64_t rows,
               int64_t in_columns, bool with_bias, const Linear& call) {
  std::vector<float> in = random_floats(rows * in_columns, 2);
  const std::vector<float> bias = random_floats(rows_of(matrix), 3);
  std::vector<float> results[2];
  Device* devices[2] = {&device, &reference};
  for (int i = 0; i < 2; ++i) {
    const auto weight = devices[i]->upload(matrix);
    EXPECT_EQ(weight->rows(), rows_of(matrix));
    EXPECT_EQ(weight->columns(), columns_of(matrix));
    results[i].assign(rows * rows_of(matrix), NAN);
    call(*devices[i], {in.data(), rows, in_columns}, *weight, with_bias ? bias.data() : nullptr,
         {results[i].data(), rows, rows_of(matrix)});
  }
  return relative_error(results[0], results[1]);
}

TEST_P(DeviceConformance, LinearMultipliesWithWeightsOfEveryForm) {
  const Linear linear = [](Device& d, Tensor in, const Weight& w, const float* bias, Tensor out) {
    d.linear(in, w, bias, out);
  };
  for (const Form& form : forms()) {
    for (const int64_t columns : {96, 144, 192, 384}) {
      if (columns % form.column_unit != 0) continue;
      for (const int64_t weight_rows : {7, 48, 100}) {
        for (const int64_t rows : {1, 3, 15}) {
          const HostMatrix matrix = form.make(weight_rows, columns);
          EXPECT_LE(compare(*device, *reference, matrix, rows, columns, rows == 3, linear),
                    tolerance())
              << form.name << ", " << weight_rows << " x " << columns << ", rows " << rows;
        }
      }
    }
  }
}

TEST_P(DeviceConformance, LinearTakesManyRowsAndColumns) {
  const Linear linear = [](Device& d, Tensor in, const Weight& w, const float* bias, Tensor out) {
    d.linear(in, w, bias, out);
  };
  for (const HostMatrix& matrix : {HostMatrix(random_grouped(4, 32, false, true, 40, 4096, 1)),
                                   HostMatrix(random_grouped(8, 32, true, true, 40, 4096, 1)),
                                   HostMatrix(random_dense(DType::bf16, 40, 4096, 1))}) {
    EXPECT_LE(compare(*device, *reference, matrix, 157, 4096, true, linear), tolerance());
  }
}

TEST_P(DeviceConformance, NormLinearNormsFirst) {
  const std::vector<float> norm = random_floats(4096, 4);
  const Linear call = [&](Device& d, Tensor in, const Weight& w, const float* bias, Tensor out) {
    d.norm_linear(in, norm.data(), 1e-5f, w, bias, out);
  };
  for (const int64_t columns : {160, 576, 4096}) {
    for (const int64_t rows : {1, 2, 9}) {
      EXPECT_LE(compare(*device, *reference, random_dense(DType::f32, 33, columns, 1), rows,
                        columns, true, call),
                tolerance());
      EXPECT_LE(compare(*device, *reference, random_grouped(4, 32, false, true, 33, columns, 1),
                        rows, columns, true, call),
                tolerance());
    }
  }
}

TEST_P(DeviceConformance, GatedLinearMultipliesTheActivatedGateWithUp) {
  for (const auto activation : {Activation::silu, Activation::gelu, Activation::gelu_tanh}) {
    const Linear call = [&](Device& d, Tensor in, const Weight& w, const float* bias, Tensor out) {
      d.gated_linear(in, activation, w, bias, out);
    };
    for (const int64_t columns : {160, 1536, 3072}) {
      for (const int64_t rows : {1, 2, 9}) {
        EXPECT_LE(compare(*device, *reference, random_dense(DType::f32, 33, columns, 1), rows,
                          2 * columns, false, call),
                  tolerance());
        EXPECT_LE(compare(*device, *reference, random_grouped(8, 32, true, true, 33, columns, 1),
                          rows, 2 * columns, false, call),
                  tolerance());
      }
    }
  }
}

TEST_P(DeviceConformance, GatedLinearSurvivesLargeGates) {
  std::vector<float> in(2 * 32, 1.0f);
  for (int c = 0; c < 32; ++c) in[c] = c % 2 == 0 ? 1000.0f : -1000.0f;
  const auto weight = device->upload(random_dense(DType::f32, 4, 32, 1));
  std::vector<float> out(4, NAN), expected(4);
  device->gated_linear({in.data(), 1, 64}, Activation::silu, *weight, nullptr, {out.data(), 1, 4});
  const auto plain = reference->upload(random_dense(DType::f32, 4, 32, 1));
  reference->gated_linear({in.data(), 1, 64}, Activation::silu, *plain, nullptr,
                          {expected.data(), 1, 4});
  EXPECT_LE(relative_error(out, expected), tolerance());
}

TEST_P(DeviceConformance, ZeroRowsGiveTheBias) {
  const std::vector<float> bias = random_floats(20, 5);
  const auto weight = device->upload(random_grouped(4, 32, true, true, 20, 64, 1));
  std::vector<float> in(64, 0.0f), out(20, NAN);
  device->linear({in.data(), 1, 64}, *weight, bias.data(), {out.data(), 1, 20});
  EXPECT_EQ(out, bias);
}

TEST_P(DeviceConformance, RowGivesTheSameBitsAloneAndInABatch) {
  for (const Form& form : forms()) {
    const HostMatrix matrix = form.make(50, 256);
    const auto weight = device->upload(matrix);
    const int64_t rows = 23;
    std::vector<float> in = random_floats(rows * 256, 6);
    std::vector<float> together(rows * 50), alone(rows * 50);
    device->linear({in.data(), rows, 256}, *weight, nullptr, {together.data(), rows, 50});
    for (int64_t r = 0; r < rows; ++r) {
      device->linear({in.data() + r * 256, 1, 256}, *weight, nullptr,
                     {alone.data() + r * 50, 1, 50});
    }
    EXPECT_EQ(together, alone) << form.name;
  }
}

TEST_P(DeviceConformance, ResultsDoNotDependOnTheNumberOfThreads) {
  std::vector<float> in = random_floats(5 * 2 * 3072, 7);
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    Implementation other = GetParam();
    other.options.threads = threads;
    DeviceUnderTest device(other);
    const auto weight = device->upload(random_grouped(4, 32, false, true, 90, 3072, 1));
    results.emplace_back(6 * 90);
    Tensor many{results.back().data(), 5, 90}, one{results.back().data() + 5 * 90, 1, 90};
    device->gated_linear({in.data(), 5, 6144}, Activation::silu, *weight, nullptr, many);
    device->gated_linear({in.data(), 1, 6144}, Activation::silu, *weight, nullptr, one);
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_P(DeviceConformance, EmbedGivesScaledRowsAndZerosForRowsOfOthers) {
  for (const Form& form : forms()) {
    const HostMatrix matrix = form.make(37, 128);
    const std::vector<int32_t> tokens = {99, 100, 136, 137, 5, 117};
    std::vector<float> out(tokens.size() * 128, NAN), expected(out);
    const auto table = device->upload(matrix);
    const auto plain = reference->upload(matrix);
    device->embed(*table, 100, tokens, 1.5f, {out.data(), std::ssize(tokens), 128});
    reference->embed(*plain, 100, tokens, 1.5f, {expected.data(), std::ssize(tokens), 128});
    EXPECT_LE(relative_error(out, expected), 1e-6) << form.name;
    for (int c = 0; c < 128; ++c) {
      EXPECT_EQ(out[c], 0.0f);
      EXPECT_EQ(out[3 * 128 + c], 0.0f);
    }
  }
}

TEST_P(DeviceConformance, AddAndGatherRows) {
  for (const int64_t rows : {1, 3, 700}) {
    std::vector<float> a = random_floats(rows * 100, 8), b = random_floats(rows * 100, 9);
    std::vector<float> expected(a);
    for (size_t i = 0; i < a.size(); ++i) expected[i] += b[i];
    device->add({a.data(), rows, 100}, {b.data(), rows, 100});
    EXPECT_EQ(a, expected);
    const std::vector<int64_t> picked = {rows - 1, 0};
    std::vector<float> out(200);
    device->gather_rows({a.data(), rows, 100}, picked, {out.data(), 2, 100});
    EXPECT_EQ(std::vector<float>(out.begin(), out.begin() + 100),
              std::vector<float>(a.end() - 100, a.end()));
    EXPECT_EQ(std::vector<float>(out.begin() + 100, out.end()),
              std::vector<float>(a.begin(), a.begin() + 100));
  }
}

TEST_P(DeviceConformance, BuffersAreAlignedZeroedAndHoldWhatIsCopiedIn) {
  for (const size_t bytes : {size_t{1}, size_t{5000}, size_t{5} << 20}) {
    const auto buffer = device->allocate(bytes);
    ASSERT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    EXPECT_EQ(buffer->data()[bytes - 1], std::byte{0});
    std::vector<std::byte> host(bytes, std::byte{42}), back(bytes);
    device->copy_in(buffer->data(), host);
    device->copy_out(back, buffer->data());
    device->synchronize();
    EXPECT_EQ(back, host);
  }
  EXPECT_GT(device->free_memory(), 0u);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceConformance, testing::ValuesIn(implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer
