// Every implementation of Device against the reference: weights of all forms, and what is not
// attention.

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "base/token_mask.h"
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

std::vector<float> nans(int64_t count) { return std::vector<float>(count, NAN); }

using Linear =
    std::function<void(Device&, Tensor in, const Weight&, const float* bias, Tensor out)>;

// The same call on the device and on the reference; returns the relative error.
double compare(Device& device, Device& reference, const HostMatrix& matrix, int64_t rows,
               int64_t in_columns, bool with_bias, const Linear& call) {
  const int64_t out_columns = rows_of(matrix);
  std::vector<float> results[2];
  Device* devices[2] = {&device, &reference};
  for (int i = 0; i < 2; ++i) {
    const auto weight = devices[i]->upload(matrix);
    EXPECT_EQ(weight->rows(), rows_of(matrix));
    EXPECT_EQ(weight->columns(), columns_of(matrix));
    const DeviceFloats in(*devices[i], random_floats(rows * in_columns, 2));
    const DeviceFloats bias(*devices[i], random_floats(out_columns, 3));
    const DeviceFloats out(*devices[i], nans(rows * out_columns));
    call(*devices[i], in.tensor(rows, in_columns), *weight, with_bias ? bias.data() : nullptr,
         out.tensor(rows, out_columns));
    results[i] = out.values();
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
    const DeviceFloats weights(d, norm);
    d.norm_linear(in, weights.data(), 1e-5f, w, bias, out);
    d.synchronize();
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

TEST_P(DeviceConformance, NormedRowsAreAdded) {
  for (const int64_t columns : {1, 37, 160, 1152, 5376, 9000}) {
    for (const int64_t rows : {1, 3, 70}) {
      std::vector<float> results[2];
      Device* devices[2] = {&*device, reference.get()};
      for (int i = 0; i < 2; ++i) {
        const DeviceFloats in(*devices[i], random_floats(rows * columns, 2, 20.0f));
        const DeviceFloats norm(*devices[i], random_floats(columns, 3));
        const DeviceFloats out(*devices[i], random_floats(rows * columns, 4));
        devices[i]->add_normed(in.tensor(rows, columns), norm.data(), 1e-5f,
                               out.tensor(rows, columns));
        results[i] = out.values();
      }
      EXPECT_LE(relative_error(results[0], results[1]), std::min(tolerance(), 1e-5))
          << rows << " x " << columns;
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
  std::vector<float> gates(2 * 32, 1.0f);
  for (int c = 0; c < 32; ++c) gates[c] = c % 2 == 0 ? 1000.0f : -1000.0f;
  std::vector<float> results[2];
  Device* devices[2] = {&*device, reference.get()};
  for (int i = 0; i < 2; ++i) {
    const auto weight = devices[i]->upload(random_dense(DType::f32, 4, 32, 1));
    const DeviceFloats in(*devices[i], gates), out(*devices[i], nans(4));
    devices[i]->gated_linear(in.tensor(1, 64), Activation::silu, *weight, nullptr,
                             out.tensor(1, 4));
    results[i] = out.values();
  }
  EXPECT_LE(relative_error(results[0], results[1]), tolerance());
}

TEST_P(DeviceConformance, ZeroRowsGiveTheBias) {
  const std::vector<float> bias = random_floats(20, 5);
  const auto weight = device->upload(random_grouped(4, 32, true, true, 20, 64, 1));
  const DeviceFloats in(*device, std::vector<float>(64, 0.0f)), out(*device, nans(20));
  const DeviceFloats own_bias(*device, bias);
  device->linear(in.tensor(1, 64), *weight, own_bias.data(), out.tensor(1, 20));
  EXPECT_EQ(out.values(), bias);
}

TEST_P(DeviceConformance, RowGivesTheSameBitsAloneAndInABatch) {
  if (!GetParam().same_bits_in_any_batch) GTEST_SKIP() << "kernels differ by the number of rows";
  for (const Form& form : forms()) {
    // One panel and several, in part filled; one and several runs of columns, of uneven length.
    for (const int64_t columns : {256, 1152}) {
      const int64_t weight_rows = columns == 256 ? 50 : 70;
      const auto weight = device->upload(form.make(weight_rows, columns));
      const int64_t most = 35;
      const DeviceFloats in(*device, random_floats(most * columns, 6));
      const DeviceFloats own_bias(*device, random_floats(weight_rows, 7));
      const auto multiply = [&](int64_t first, int64_t rows, const DeviceFloats& out) {
        const float* bias = columns == 256 ? nullptr : own_bias.data();
        device->linear(
            {in.tensor(most, columns).data + first * columns, rows, columns}, *weight, bias,
            {out.tensor(most, weight_rows).data + first * weight_rows, rows, weight_rows});
      };
      const DeviceFloats alone(*device, nans(most * weight_rows));
      for (int64_t r = 0; r < most; ++r) multiply(r, 1, alone);
      std::vector<float> expected = alone.values();
      for (const int64_t rows : {most, int64_t{24}, int64_t{17}, int64_t{12}, int64_t{8}}) {
        const DeviceFloats together(*device, std::vector<float>(most * weight_rows, 0.5f));
        multiply(0, rows, together);
        std::fill(expected.begin() + rows * weight_rows, expected.end(), 0.5f);
        EXPECT_EQ(together.values(), expected) << form.name << ", rows " << rows;
      }
    }
  }
}

TEST_P(DeviceConformance, ResultsDoNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "a GPU has no threads to choose";
  std::vector<std::vector<float>> results;
  for (const int threads : {1, 3}) {
    Implementation other = GetParam();
    other.options.threads = threads;
    DeviceUnderTest device(other);
    const auto weight = device->upload(random_grouped(4, 32, false, true, 90, 3072, 1));
    const DeviceFloats in(*device, random_floats(5 * 2 * 3072, 7)), out(*device, nans(6 * 90));
    const Tensor many = out.tensor(5, 90), one{many.data + 5 * 90, 1, 90};
    device->gated_linear(in.tensor(5, 6144), Activation::silu, *weight, nullptr, many);
    device->gated_linear(in.tensor(1, 6144), Activation::silu, *weight, nullptr, one);
    results.push_back(out.values());
  }
  EXPECT_EQ(results[0], results[1]);
}

TEST_P(DeviceConformance, EmbedGivesScaledRowsAndZerosForRowsOfOthers) {
  for (const Form& form : forms()) {
    const HostMatrix matrix = form.make(37, 128);
    const std::vector<int32_t> tokens = {99, 100, 136, 137, 5, 117};
    std::vector<float> results[2];
    Device* devices[2] = {&*device, reference.get()};
    for (int i = 0; i < 2; ++i) {
      const auto table = devices[i]->upload(matrix);
      const DeviceFloats out(*devices[i], nans(std::ssize(tokens) * 128));
      devices[i]->run({.tokens = tokens}, false, [&] {
        devices[i]->embed(*table, 100, 1.5f, out.tensor(std::ssize(tokens), 128));
      });
      results[i] = out.values();
    }
    EXPECT_LE(relative_error(results[0], results[1]), std::min(tolerance(), 1e-6)) << form.name;
    for (int c = 0; c < 128; ++c) {
      EXPECT_EQ(results[0][c], 0.0f);
      EXPECT_EQ(results[0][3 * 128 + c], 0.0f);
    }
  }
}

// More than a dimension of a GPU's grid holds but for the first.
TEST_P(DeviceConformance, EmbedsAndPicksTensOfThousandsOfRows) {
  constexpr int64_t kRows = 70'000, kColumns = 8;
  const DenseMatrix matrix = random_dense(DType::f32, 100, kColumns, 7);
  std::vector<int32_t> tokens(kRows);
  for (int64_t i = 0; i < kRows; ++i) tokens[i] = static_cast<int32_t>(i % 100);
  const auto table = device->upload(matrix);
  const DeviceFloats out(*device, nans(kRows * kColumns));
  std::vector<RowPick> picks(kRows);
  device->run({.tokens = tokens}, false,
              [&] { device->embed(*table, 0, 1.0f, out.tensor(kRows, kColumns)); });
  device->pick(out.tensor(kRows, kColumns), 0, std::vector<RowDraw>(kRows), picks);
  const std::vector<float> values = out.values();
  for (const int64_t row : {int64_t{0}, int64_t{65'535}, int64_t{65'536}, kRows - 1}) {
    const auto expected = pick_from(std::span(values).subspan(row * kColumns, kColumns), 0, {});
    EXPECT_EQ(picks[row].id, expected.id) << row;
    EXPECT_TRUE(std::equal(values.begin() + row * kColumns, values.begin() + (row + 1) * kColumns,
                           values.begin() + row % 100 * kColumns))
        << row;
    EXPECT_TRUE(std::isfinite(values[row * kColumns])) << row;
  }
}

TEST_P(DeviceConformance, ProductsAreAddedWhereAsked) {
  for (const int64_t rows : {1, 3, 40}) {
    std::vector<float> results[2];
    Device* devices[2] = {&*device, reference.get()};
    for (int i = 0; i < 2; ++i) {
      const auto weight = devices[i]->upload(random_dense(DType::bf16, 100, 192, 1));
      const auto copy = devices[i]->clone(*weight);
      const DeviceFloats in(*devices[i], random_floats(rows * 192, 2));
      const DeviceFloats gates(*devices[i], random_floats(rows * 384, 3));
      const DeviceFloats bias(*devices[i], random_floats(100, 4));
      const DeviceFloats out(*devices[i], random_floats(rows * 100, 5));
      devices[i]->linear(in.tensor(rows, 192), *weight, bias.data(), out.tensor(rows, 100),
                         Output::added_to);
      devices[i]->gated_linear(gates.tensor(rows, 384), Activation::silu, *copy, nullptr,
                               out.tensor(rows, 100), Output::added_to);
      results[i] = out.values();
    }
    EXPECT_LE(relative_error(results[0], results[1]), tolerance()) << rows;
  }
}

TEST_P(DeviceConformance, GathersRows) {
  for (const int64_t rows : {1, 3, 700}) {
    const std::vector<float> values = random_floats(rows * 100, 8);
    const DeviceFloats in(*device, values), picked(*device, nans(200));
    const std::vector<int64_t> wanted = {rows - 1, 0};
    device->run({.gathered_rows = wanted}, false,
                [&] { device->gather_rows(in.tensor(rows, 100), picked.tensor(2, 100)); });
    const std::vector<float> out = picked.values();
    EXPECT_EQ(std::vector<float>(out.begin(), out.begin() + 100),
              std::vector<float>(values.end() - 100, values.end()));
    EXPECT_EQ(std::vector<float>(out.begin() + 100, out.end()),
              std::vector<float>(values.begin(), values.begin() + 100));
  }
}

TEST_P(DeviceConformance, PicksTheLargestOrDrawsWithTheSameNoise) {
  for (const int64_t columns : {1, 37, 5000, 40001}) {
    const int64_t rows = 5;
    std::vector<float> values = random_floats(rows * columns, 13, 3.0f);
    std::copy_n(values.end() - columns, columns / 2, values.begin());
    values[3 * columns] = NAN;
    values[2 * columns + columns / 2] = values[2 * columns] = 50.0f;
    const std::vector<RowDraw> draws = {{.temperature = 0.7f, .stream = 1, .seed = 7, .sums = true},
                                        {.temperature = 1.3f, .seed = 1, .position = 9},
                                        {.sums = true},
                                        {},
                                        {}};
    const DeviceFloats logits(*device, values);
    std::vector<RowPick> picks(rows);
    device->pick(logits.tensor(rows, columns), 1000, draws, picks);
    for (int64_t row = 0; row < rows; ++row) {
      const RowPick expected =
          pick_from(std::span(values).subspan(row * columns, columns), 1000, draws[row]);
      EXPECT_EQ(picks[row].finite, expected.finite) << row;
      if (!expected.finite) continue;
      EXPECT_EQ(picks[row].id, expected.id) << row << ", " << columns;
      EXPECT_EQ(picks[row].value, expected.value) << row;
      if (draws[row].sums) {
        EXPECT_NEAR(picks[row].sum.log(), expected.sum.log(), 1e-5) << row;
      }
      if (draws[row].temperature > 0) {
        EXPECT_NEAR(picks[row].score, expected.score, 1e-6) << row;
      }
    }
  }
}

TEST_P(DeviceConformance, PicksAmongAllowedTokensOnly) {
  const int64_t rows = 6, columns = 5000;
  constexpr int32_t kFirst = 1000;
  const std::vector<float> values = random_floats(rows * columns, 14, 3.0f);
  TokenMask few(100), none(10), tail((kFirst + columns + 63) / 64);
  for (const int64_t id : {1001, 1777, 2048, 6399}) few[id / 64] |= uint64_t{1} << (id % 64);
  tail.back() = ~uint64_t{0};
  const std::vector<RowDraw> draws = {{.allowed = few},
                                      {.temperature = 0.8f, .seed = 3, .allowed = few},
                                      {},
                                      {.sums = true, .allowed = none},
                                      {.temperature = 1.0f, .seed = 4, .allowed = none},
                                      {.temperature = 1.0f, .seed = 5, .allowed = tail}};
  const DeviceFloats logits(*device, values);
  std::vector<RowPick> picks(rows);
  device->pick(logits.tensor(rows, columns), kFirst, draws, picks);
  for (int64_t row = 0; row < rows; ++row) {
    const RowPick expected =
        pick_from(std::span(values).subspan(row * columns, columns), kFirst, draws[row]);
    EXPECT_EQ(picks[row].id, expected.id) << row;
    EXPECT_EQ(picks[row].finite, expected.finite) << row;
    if (expected.id < 0) continue;
    EXPECT_EQ(picks[row].value, expected.value) << row;
    EXPECT_TRUE(draws[row].allowed.empty() || contains(draws[row].allowed, picks[row].id)) << row;
  }
  EXPECT_EQ(picks[3].id, -1);
  EXPECT_EQ(picks[4].id, -1);
  EXPECT_NEAR(
      picks[3].sum.log(),
      pick_from(std::span(values).subspan(3 * columns, columns), kFirst, draws[3]).sum.log(), 1e-5);
}

TEST_P(DeviceConformance, BuffersAreAlignedZeroedAndHoldWhatIsCopiedIn) {
  for (const size_t bytes : {size_t{1}, size_t{5000}, size_t{5} << 20}) {
    const auto buffer = device->allocate(bytes);
    ASSERT_EQ(buffer->bytes(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer->data()) % 64, 0u);
    std::vector<std::byte> host(bytes, std::byte{42}), back(bytes);
    device->copy_out(back, buffer->data());
    EXPECT_EQ(back, std::vector<std::byte>(bytes));
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
