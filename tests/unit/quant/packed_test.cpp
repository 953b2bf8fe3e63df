#include "quant/packed.h"

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <cmath>
#include <ostream>
#include <random>

#include "base/dtype.h"
#include "base/error.h"
#include "quant/plain.h"
#include "tests/support/packed_model.h"

namespace dinfer {
namespace {

using test::PackedModel;
using test::TemporaryDirectory;
using test::Zeros;

std::vector<float> cut(const PackedModel& model, const Slice& slice) {
  std::vector<float> out;
  for (int64_t r = slice.row_begin; r < slice.row_end; ++r) {
    const auto row = model.values.begin() + r * model.columns;
    out.insert(out.end(), row + slice.column_begin, row + slice.column_end);
  }
  return out;
}

std::vector<float> rounded_to_f16(std::vector<float> values) {
  for (float& value : values) value = f16_to_f32(f32_to_f16(value));
  return values;
}

// The whole, what tensor parallelism cuts, and cuts of no use.
std::vector<Slice> slices_of(int64_t rows, int64_t columns) {
  std::vector<Slice> slices{{0, rows, 0, columns},
                            {rows, rows, 0, columns},
                            {0, rows, columns, columns},
                            {rows / 2, rows, 0, columns},
                            {0, rows, 0, columns / 2},
                            {0, rows, columns / 2, columns},
                            {1, rows - 1, 1, columns - 1},
                            {rows - 1, rows, columns - 1, columns},
                            {0, rows, 0, columns / 4},
                            {rows / 3, rows / 2, 32, columns},
                            {3, 5, 16, 48 % (columns - 16) + 16}};
  std::mt19937 random(7);
  for (int i = 0; i < 20; ++i) {
    const auto between = [&](int64_t end) { return static_cast<int64_t>(random() % (end + 1)); };
    int64_t a = between(rows), b = between(rows), c = between(columns), d = between(columns);
    if (i % 2) c = c / 16 * 16, d = d / 16 * 16;
    slices.push_back({std::min(a, b), std::max(a, b), std::min(c, d), std::max(c, d)});
  }
  return slices;
}

struct Example {
  std::string name;
  PackedModel model;
  int group;  // of the family; 0: f16

  friend void PrintTo(const Example& example, std::ostream* out) { *out << example.name; }
};

std::vector<Example> examples() {
  std::vector<Example> out;
  for (const int bits : {4, 8}) {
    const std::string of_bits = fmt::format("Of{}Bits", bits);
    out.push_back(
        {"GptqSymmetric" + of_bits, test::gptq_model({40, 256, 128}, bits, Zeros::middle), 128});
    out.push_back(
        {"GptqAsymmetric" + of_bits, test::gptq_model({24, 160, 32}, bits, Zeros::any), 32});
    out.push_back(
        {"GptqVersion2" + of_bits, test::gptq_model({24, 96, 32}, bits, Zeros::any, false, 2), 32});
    out.push_back(
        {"GptqWholeRows" + of_bits, test::gptq_model({16, 352, 0}, bits, Zeros::any), 32});
    out.push_back(
        {"GptqUnevenGroups" + of_bits, test::gptq_model({16, 160, 128}, bits, Zeros::any), 32});
    out.push_back(
        {"GptqByActivation" + of_bits, test::gptq_model({24, 96, 32}, bits, Zeros::any, true), 0});
    out.push_back({"CompressedSymmetric" + of_bits,
                   test::compressed_model({23, 224, 32}, bits, Zeros::middle), 32});
    out.push_back({"CompressedZeroWords" + of_bits,
                   test::compressed_model({23, 192, 64}, bits, Zeros::any, "F16"), 64});
    out.push_back({"CompressedZeroBytes" + of_bits,
                   test::compressed_model({23, 192, 64}, bits, Zeros::any, "F16", false), 64});
    out.push_back({"CompressedChannels" + of_bits,
                   test::compressed_model({9, 512, 0}, bits, Zeros::any), 128});
    out.push_back({"CompressedByActivation" + of_bits,
                   test::compressed_model({9, 128, 32}, bits, Zeros::any, "BF16", true, true), 0});
    out.push_back(
        {"TooSmallGroups" + of_bits, test::compressed_model({9, 72, 8}, bits, Zeros::any), 0});
  }
  out.push_back({"Awq", test::awq_model({40, 160, 32}), 32});
  out.push_back({"AwqLargeGroups", test::awq_model({24, 512, 256}), 128});
  out.push_back({"AwqWholeRows", test::awq_model({64, 176, 0}), 16});
  out.push_back({"Int8", test::int8_model({21, 96, 0}), 32});
  for (const std::string dtype : {"F32", "BF16"}) {
    out.push_back({"Fp8Tensor" + dtype, test::fp8_model(20, 70, 0, 0, dtype, "weight_scale"), 0});
    out.push_back({"Fp8Channel" + dtype, test::fp8_model(20, 70, 1, 0, dtype, "weight_scale"), 0});
    out.push_back(
        {"Fp8Block" + dtype, test::fp8_model(200, 300, 128, 128, dtype, "weight_scale_inv"), 0});
    out.push_back(
        {"Fp8OddBlock" + dtype, test::fp8_model(33, 50, 16, 24, dtype, "weight_scale_inv"), 0});
  }
  return out;
}

class PackedFormats : public testing::TestWithParam<Example> {
 protected:
  const PackedModel& model() const { return GetParam().model; }

  std::unique_ptr<Checkpoint> open() const { return open_checkpoint(model().write(directory_)); }

 private:
  TemporaryDirectory directory_;
};

TEST_P(PackedFormats, SlicesHaveTheValuesOfThePlainDefinition) {
  const auto checkpoint = open();
  const TensorInfo& tensor = *checkpoint->find("m.weight");
  ASSERT_EQ(tensor.shape, (std::vector{model().rows, model().columns}));
  EXPECT_EQ(stored_group(tensor), GetParam().group);
  for (const Slice& slice : slices_of(model().rows, model().columns)) {
    const std::vector<float> exact = cut(model(), slice);
    EXPECT_EQ(dequantize(load_matrix(*checkpoint, tensor, slice, {})),
              GetParam().group > 0 ? exact : rounded_to_f16(exact))
        << slice.row_begin << ":" << slice.row_end << " x " << slice.column_begin << ":"
        << slice.column_end;
  }
}

// Whole, the form is the family's own; --quant changes what is plain, from the exact values.
TEST_P(PackedFormats, KeepTheirGroupsOrCountAsPlain) {
  const auto checkpoint = open();
  const TensorInfo& tensor = *checkpoint->find("m.weight");
  const Slice all{0, model().rows, 0, model().columns};
  const HostMatrix kept = load_matrix(*checkpoint, tensor, all, {});
  const HostMatrix asked = load_matrix(*checkpoint, tensor, all, {8, 32});
  if (GetParam().group > 0) {
    EXPECT_EQ(std::get<GroupedMatrix>(kept).group, GetParam().group);
    EXPECT_EQ(dequantize(asked), dequantize(kept));
    return;
  }
  EXPECT_EQ(std::get<DenseMatrix>(kept).type, DType::f16);
  DenseMatrix exact{DType::f32, model().rows, model().columns, {}};
  const auto bytes = std::as_bytes(std::span(model().values));
  exact.data.assign(bytes.begin(), bytes.end());
  const QuantSpec spec = fitting_quantization({8, 32}, model().columns);
  EXPECT_EQ(dequantize(asked), dequantize(spec.bits == 0 ? kept : quantize(exact, spec)));
}

INSTANTIATE_TEST_SUITE_P(Formats, PackedFormats, testing::ValuesIn(examples()),
                         [](const auto& info) { return info.param.name; });

TEST(Packed, ZerosInTheMiddleNeedNoMinimums) {
  TemporaryDirectory directory;
  for (const bool symmetric : {true, false}) {
    const PackedModel model =
        test::gptq_model({16, 64, 32}, 4, symmetric ? Zeros::middle : Zeros::any);
    const auto checkpoint = open_checkpoint(model.write(directory));
    const HostMatrix matrix =
        load_matrix(*checkpoint, *checkpoint->find("m.weight"), {0, 16, 0, 64}, {});
    EXPECT_EQ(std::get<GroupedMatrix>(matrix).symmetric(), symmetric);
  }
}

// Counts what is read of another checkpoint.
class CountingCheckpoint final : public Checkpoint {
 public:
  explicit CountingCheckpoint(const Checkpoint& from) : from_(from) {}
  std::span<const TensorInfo> tensors() const override { return from_.tensors(); }
  const TensorInfo* find(std::string_view name) const override { return from_.find(name); }
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override {
    bytes_ += out.size();
    from_.read(tensor, offset, out);
  }
  std::string file_of(const TensorInfo& tensor) const override { return from_.file_of(tensor); }
  std::string fingerprint() const override { return from_.fingerprint(); }
  uint64_t take_bytes() { return bytes_.exchange(0); }

 private:
  const Checkpoint& from_;
  mutable std::atomic<uint64_t> bytes_{0};
};

// Cuts along what a file has in its rows are free, those across are where pieces are worth a read.
TEST(Packed, ARankReadsTheBytesOfItsSlice) {
  const auto bytes_of_half = [](const PackedModel& model, bool rows) {
    TemporaryDirectory directory;
    const auto checkpoint = open_checkpoint(model.write(directory));
    CountingCheckpoint counting(*checkpoint);
    const TensorInfo& tensor = *checkpoint->find("m.weight");
    load_matrix(counting, tensor,
                rows ? Slice{0, model.rows / 2, 0, model.columns}
                     : Slice{0, model.rows, 0, model.columns / 2},
                {});
    return static_cast<double>(counting.take_bytes()) / static_cast<double>(tensor.bytes);
  };
  EXPECT_NEAR(bytes_of_half(test::compressed_model({64, 512, 128}, 4, Zeros::any), true), 0.5,
              0.01);
  EXPECT_NEAR(bytes_of_half(test::fp8_model(256, 256, 128, 128, "F32", "weight_scale"), true), 0.5,
              0.01);
  EXPECT_NEAR(bytes_of_half(test::gptq_model({64, 512, 128}, 4, Zeros::any), false), 0.5, 0.01);
  EXPECT_NEAR(bytes_of_half(test::awq_model({64, 512, 128}), false), 0.5, 0.01);
  EXPECT_NEAR(bytes_of_half(test::gptq_model({8192, 64, 32}, 4, Zeros::any), true), 0.5, 0.05);
  EXPECT_NEAR(bytes_of_half(test::compressed_model({4, 65536, 128}, 4, Zeros::any), false), 0.5,
              0.05);
}

template <class Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.code() == ExitCode::model_files ? error.what() : "another exit code";
  }
  return "";
}

std::string loading_error(const PackedModel& model) {
  TemporaryDirectory directory;
  const auto checkpoint = open_checkpoint(model.write(directory));
  return error_of([&] {
    load_matrix(*checkpoint, *checkpoint->find("m.weight"), {0, model.rows, 0, model.columns}, {});
  });
}

TEST(Packed, RefusesNumbersThatAreNone) {
  PackedModel fp8 = test::fp8_model(20, 70, 1, 0, "F32", "weight_scale");
  fp8.tensor("m.weight").bytes[70 * 3 + 5] = '\xff';
  EXPECT_NE(loading_error(fp8).find("\"m.weight\": the weight at row 3, column 5 is NaN"),
            std::string::npos);
  PackedModel awq = test::awq_model({16, 64, 32});
  awq.tensor("m.scales").bytes.replace(2, 2, "\x01\x7c");
  EXPECT_NE(loading_error(awq).find("\"m.scales\": the weight at row 0, column 1 is NaN"),
            std::string::npos);
}

TEST(Packed, RefusesValuesBeyondF16) {
  PackedModel fp8 = test::fp8_model(4, 16, 0, 0, "F32", "weight_scale");
  const float scale = 1e6f;
  fp8.tensor("m.weight_scale").bytes.assign(reinterpret_cast<const char*>(&scale), sizeof(scale));
  EXPECT_NE(loading_error(fp8).find("too large for f16"), std::string::npos);
}

TEST(Packed, RefusesGroupsThatAreNotThere) {
  PackedModel shuffled = test::gptq_model({16, 64, 32}, 4, Zeros::any, true);
  shuffled.tensor("m.g_idx").bytes[4 * 7] = 2;
  EXPECT_NE(
      loading_error(shuffled).find("\"m.g_idx\" says that input 7 is of group 2; there are 2"),
      std::string::npos);
  shuffled.tensor("m.g_idx").bytes.replace(4 * 7, 4, 4, '\xff');
  EXPECT_NE(loading_error(shuffled).find("group -1"), std::string::npos);
}

TEST(Packed, RefusesGroupsOutOfOrderWithoutDescAct) {
  PackedModel model = test::gptq_model({16, 64, 32}, 4, Zeros::any);
  model.tensor("m.g_idx").bytes[4 * 7] = 1;
  EXPECT_NE(loading_error(model).find("input 7 is of group 1; without desc_act"),
            std::string::npos);
}

TEST(Plain, RoundsManyValuesToF16AsOneByOne) {
  std::vector<float> values;
  std::mt19937 random(1);
  for (uint32_t exponent = 0; exponent < 255; ++exponent) {
    for (int i = 0; i < 50; ++i) {
      const auto others = static_cast<uint32_t>(random()) & 0x807fffffu;
      values.push_back(std::bit_cast<float>(others | exponent << 23));
    }
  }
  for (const float edge :
       {0.0f, -0.0f, 65504.0f, 65519.9f, 65520.0f, 0x1p-24f, 0x1p-25f, 0x1.8p-25f, 0x1p-14f,
        0x1.ffcp-15f, 0x1.ffep-15f, INFINITY, 2049.0f, 2051.0f}) {
    values.push_back(edge);
  }
  std::vector<uint16_t> halves(values.size());
  to_f16(values.data(), std::ssize(values), halves.data());
  for (size_t i = 0; i < values.size(); ++i)
    EXPECT_EQ(halves[i], f32_to_f16(values[i])) << values[i];
}

}  // namespace
}  // namespace dinfer
