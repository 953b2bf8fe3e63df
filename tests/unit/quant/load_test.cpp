#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/dtype.h"
#include "checkpoint/model_files.h"
#include "quant/quantize.h"
#include "tests/unit/quant/memory_checkpoint.h"

namespace dinfer {
namespace {

const std::filesystem::path kModels = DINFER_SOURCE_DIR "/tests/golden/models";

// Weights as models have them: mostly small, a few large.
std::vector<float> random_weights(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  std::vector<float> values(count);
  for (float& value : values) value = random() % 100 == 0 ? 10 * normal(random) : normal(random);
  return values;
}

test::MemoryCheckpoint plain_checkpoint(StorageType type, std::vector<int64_t> shape,
                                        const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) {
    if (type == StorageType::f32) {
      bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
    } else {
      const uint16_t bits = type == StorageType::bf16 ? f32_to_bf16(value) : f32_to_f16(value);
      bytes.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
    }
  }
  return {type, std::move(shape), bytes};
}

std::vector<float> cut(const std::vector<float>& whole, int64_t columns, const Slice& slice) {
  std::vector<float> out;
  for (int64_t r = slice.row_begin; r < slice.row_end; ++r) {
    out.insert(out.end(), whole.begin() + r * columns + slice.column_begin,
               whole.begin() + r * columns + slice.column_end);
  }
  return out;
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

class PlainTypes : public testing::TestWithParam<StorageType> {};

TEST_P(PlainTypes, SlicesEqualTheSameCutOfTheWhole) {
  // Rows of 20000 columns are read one by one, rows of 100 in runs.
  for (const int64_t columns : {100, 20000}) {
    const int64_t rows = 9;
    const auto checkpoint =
        plain_checkpoint(GetParam(), {rows, columns}, random_weights(rows * columns, 1));
    const auto load = [&](const Slice& slice) {
      return dequantize(load_matrix(checkpoint, checkpoint.tensor(), slice, {}));
    };
    const std::vector<float> whole = load({0, rows, 0, columns});
    for (const Slice slice : {Slice{0, 9, 0, 1}, Slice{3, 5, 7, 93}, Slice{8, 9, 0, columns},
                              Slice{1, 9, columns - 50, columns}, Slice{2, 2, 0, columns},
                              Slice{0, 9, 4, columns - 1}}) {
      EXPECT_EQ(load(slice), cut(whole, columns, slice));
    }
  }
}

TEST_P(PlainTypes, KeepTheirType) {
  const auto checkpoint = plain_checkpoint(GetParam(), {2, 4}, {1, 2, 3, 4, 5, 6, 7, 8});
  const HostMatrix matrix = load_matrix(checkpoint, checkpoint.tensor(), {0, 2, 0, 4}, {});
  EXPECT_EQ(bytes_of(std::get<DenseMatrix>(matrix).type),
            static_cast<size_t>(traits_of(GetParam()).block_bytes));
  EXPECT_EQ(dequantize(matrix), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_P(PlainTypes, RefuseNanAndInfinityByPlace) {
  for (const float poison : {NAN, INFINITY, -INFINITY}) {
    std::vector<float> values = random_weights(40 * 300, 2);
    values[7 * 300 + 123] = poison;
    const auto checkpoint = plain_checkpoint(GetParam(), {40, 300}, values);
    const auto error = [&](const Slice& slice, const QuantSpec& quant) {
      return error_of([&] { load_matrix(checkpoint, checkpoint.tensor(), slice, quant); });
    };
    const char* place = "\"w\": the weight at row 7, column 123 is NaN or infinite";
    EXPECT_NE(error({0, 40, 0, 300}, {}).find(place), std::string::npos);
    EXPECT_NE(error({5, 9, 100, 200}, {}).find(place), std::string::npos);
    EXPECT_NE(error({0, 40, 0, 300}, {8, 32}).find("NaN"), std::string::npos);
    EXPECT_EQ(error({8, 40, 0, 300}, {}), "");
  }
}

TEST_P(PlainTypes, VectorsBecomeF32) {
  const auto checkpoint = plain_checkpoint(GetParam(), {4}, {1, -2, 0.5, 3});
  EXPECT_EQ(load_vector(checkpoint, checkpoint.tensor()), (std::vector<float>{1, -2, 0.5, 3}));
  EXPECT_EQ(load_vector(checkpoint, checkpoint.tensor(), 1, 3), (std::vector<float>{-2, 0.5}));
  const auto poisoned = plain_checkpoint(GetParam(), {4}, {1, 2, NAN, 3});
  EXPECT_NE(error_of([&] { load_vector(poisoned, poisoned.tensor()); }).find("element 2"),
            std::string::npos);
}

// What each rank of a tensor-parallel group gets must not depend on how many there are.
TEST_P(PlainTypes, QuantisedSlicesAreSlicesOfTheQuantised) {
  const int64_t rows = 6, columns = 576;
  const auto checkpoint =
      plain_checkpoint(GetParam(), {rows, columns}, random_weights(rows * columns, 3));
  for (const QuantSpec& quant : {QuantSpec{8, 32}, {8, 128}, {4, 32}, {4, 64}, {4, 128}}) {
    const auto load = [&](const Slice& slice) {
      return load_matrix(checkpoint, checkpoint.tensor(), slice, quant);
    };
    const HostMatrix matrix = load({0, rows, 0, columns});
    // 128 does not divide 576; 64 does.
    EXPECT_EQ(std::get<GroupedMatrix>(matrix).group, std::min(quant.group, 64));
    const std::vector<float> whole = dequantize(matrix);
    for (const Slice slice : {Slice{0, 3, 0, 576}, Slice{3, 6, 0, 576}, Slice{0, 6, 0, 192},
                              Slice{0, 6, 192, 384}, Slice{0, 6, 384, 576}, Slice{1, 5, 16, 48},
                              Slice{0, 6, 80, 576}, Slice{0, 6, 0, 9}, Slice{2, 4, 77, 201}}) {
      EXPECT_EQ(dequantize(load(slice)), cut(whole, columns, slice))
          << slice.column_begin << ":" << slice.column_end;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PlainTypes,
                         testing::Values(StorageType::f32, StorageType::f16, StorageType::bf16),
                         [](const auto& info) { return std::string(traits_of(info.param).name); });

TEST(Load, ColumnsThatNoGroupDividesStayPlain) {
  const auto checkpoint = plain_checkpoint(StorageType::f32, {2, 24}, random_weights(48, 4));
  const HostMatrix matrix = load_matrix(checkpoint, checkpoint.tensor(), {0, 2, 0, 24}, {4, 32});
  EXPECT_TRUE(std::holds_alternative<DenseMatrix>(matrix));
}

TEST(Load, TensorsWithoutElementsGiveEmptyMatrices) {
  const int64_t huge = int64_t{1} << 62;
  for (const std::vector<int64_t>& shape : {std::vector<int64_t>{0, huge}, {huge, 0}, {0, 0}}) {
    const test::MemoryCheckpoint checkpoint(StorageType::f32, shape, "");
    const Slice all{0, shape[0], 0, shape[1]};
    for (const QuantSpec& quant : {QuantSpec{}, QuantSpec{4, 32}}) {
      const HostMatrix matrix = load_matrix(checkpoint, checkpoint.tensor(), all, quant);
      EXPECT_EQ(rows_of(matrix), shape[0]);
      EXPECT_EQ(columns_of(matrix), shape[1]);
    }
  }
}

TEST(Load, BlockTypesStayAsTheyAreWhenQuantisationIsAsked) {
  const test::MemoryCheckpoint checkpoint(StorageType::q8_0, {1, 32}, std::string(34, '\1'));
  const HostMatrix matrix = load_matrix(checkpoint, checkpoint.tensor(), {0, 1, 0, 32}, {4, 32});
  EXPECT_EQ(std::get<GroupedMatrix>(matrix).bits, 8);
}

// Both forms of a model hold the same weights; GGUF has rows of q and k of arch llama interleaved.
TEST(Load, GgufAndSafetensorsOfOneModelHoldTheSameValues) {
  const ModelFiles gguf_files{kModels / "gguf/llama-4h/llama-4h-F32.gguf", true};
  const ModelFiles hf_files{kModels / "hf/llama-4h", false};
  const auto gguf = open_checkpoint(gguf_files);
  const auto hf = open_checkpoint(hf_files);
  const ModelConfig config = read_model_config(hf_files);
  int matrices = 0;
  for (const TensorInfo& tensor : hf->tensors()) {
    const TensorInfo* twin = gguf->find(tensor.name);
    ASSERT_NE(twin, nullptr) << tensor.name;
    ASSERT_EQ(twin->shape, tensor.shape) << tensor.name;
    if (tensor.shape.size() == 1) {
      EXPECT_EQ(load_vector(*gguf, *twin), load_vector(*hf, tensor)) << tensor.name;
      continue;
    }
    const Slice all{0, tensor.shape[0], 0, tensor.shape[1]};
    HostMatrix from_gguf = load_matrix(*gguf, *twin, all, {});
    if (tensor.name.ends_with("q_proj.weight") || tensor.name.ends_with("k_proj.weight")) {
      // Row 2i + h of a head in the file is row i + h * head_dim / 2 of the model.
      std::vector<int64_t> order(tensor.shape[0]);
      const int64_t half = config.head_dim / 2;
      for (int64_t r = 0; r < tensor.shape[0]; ++r) {
        const int64_t in_head = r % config.head_dim;
        order[r] = r - in_head + in_head % half * 2 + in_head / half;
      }
      from_gguf = permute_rows(std::move(from_gguf), order);
    }
    EXPECT_EQ(dequantize(from_gguf), dequantize(load_matrix(*hf, tensor, all, {}))) << tensor.name;
    ++matrices;
  }
  EXPECT_EQ(matrices, 16);
}

}  // namespace
}  // namespace dinfer
