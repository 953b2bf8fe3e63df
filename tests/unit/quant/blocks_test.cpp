#include "quant/blocks.h"

#include <gtest/gtest.h>

#include <random>

#include "base/dtype.h"
#include "quant/quantize.h"
#include "tests/unit/quant/memory_checkpoint.h"

namespace dinfer {
namespace {

// What element i of a block is, from the definition of each format, one element at a time and with
// none of the shortcuts of the code under test.
struct ScalarBlock {
  const uint8_t* b;

  float f16(int at) const { return f16_to_f32(static_cast<uint16_t>(b[at] | b[at + 1] << 8)); }
  // The nibble of element i of 32: low ones first.
  int nibble(int at, int i) const { return i < 16 ? b[at + i] & 15 : b[at + i - 16] >> 4; }
  int bit(int at, int i) const { return b[at + i / 8] >> (i % 8) & 1; }
  // Two bits of element i of 256: per 128 elements four runs of 32 share 32 bytes.
  int two_bits(int at, int i) const {
    return b[at + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
  }
  // Scale or minimum j of 8 in the 12 bytes of Q4_K and Q5_K.
  int scale_k(int j) const {
    return j < 4 ? b[4 + j] & 63 : (b[4 + j + 4] & 15) | (b[4 + j - 4] >> 6) << 4;
  }
  int minimum_k(int j) const {
    return j < 4 ? b[4 + j + 4] & 63 : b[4 + j + 4] >> 4 | (b[4 + j] >> 6) << 4;
  }
  // The nibble of element i of 256 in Q4_K and Q5_K: per 64 elements 32 bytes.
  int nibble_k(int at, int i) const {
    return b[at + i / 64 * 32 + i % 32] >> (i % 64 / 32 * 4) & 15;
  }

  float q3_k(int i) const {
    const int group = i / 16;
    const int low = group < 8 ? b[96 + group] & 15 : b[96 + group - 8] >> 4;
    const int scale = (low | (b[104 + group % 4] >> (group / 4 * 2) & 3) << 4) - 32;
    const int high = b[i % 32] >> (i / 32) & 1;
    return f16(108) * static_cast<float>(scale) *
           static_cast<float>(two_bits(32, i) - (high ? 0 : 4));
  }
  float q6_k(int i) const {
    const int half = i / 128, run = i % 128 / 32, l = i % 32;
    const int low = b[half * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
    const int high = b[128 + half * 32 + l] >> (run * 2) & 3;
    const auto scale = static_cast<int8_t>(b[192 + i / 16]);
    return f16(208) * static_cast<float>(scale) * static_cast<float>((low | high << 4) - 32);
  }

  float value(StorageType type, int i) const {
    const auto affine = [](float scale, int number, float minimum) {
      return scale * static_cast<float>(number) + minimum;
    };
    switch (type) {
      case StorageType::q4_0:
        return f16(0) * static_cast<float>(nibble(2, i) - 8);
      case StorageType::q4_1:
        return affine(f16(0), nibble(4, i), f16(2));
      case StorageType::q5_0:
        return f16(0) * static_cast<float>((nibble(6, i) | bit(2, i) << 4) - 16);
      case StorageType::q5_1:
        return affine(f16(0), nibble(8, i) | bit(4, i) << 4, f16(2));
      case StorageType::q8_0:
        return f16(0) * static_cast<float>(static_cast<int8_t>(b[2 + i]));
      case StorageType::q2_k:
        return affine(f16(80) * static_cast<float>(b[i / 16] & 15), two_bits(16, i),
                      -(f16(82) * static_cast<float>(b[i / 16] >> 4)));
      case StorageType::q3_k:
        return q3_k(i);
      case StorageType::q4_k:
        return affine(f16(0) * static_cast<float>(scale_k(i / 32)), nibble_k(16, i),
                      -(f16(2) * static_cast<float>(minimum_k(i / 32))));
      case StorageType::q5_k:
        return affine(f16(0) * static_cast<float>(scale_k(i / 32)),
                      nibble_k(48, i) | (b[16 + i % 32] >> (i / 32) & 1) << 4,
                      -(f16(2) * static_cast<float>(minimum_k(i / 32))));
      case StorageType::q6_k:
        return q6_k(i);
      default:
        return NAN;
    }
  }
};

// Where the f16 numbers of a block are.
std::vector<int> f16_places(StorageType type) {
  switch (type) {
    case StorageType::q4_0:
    case StorageType::q5_0:
    case StorageType::q8_0:
      return {0};
    case StorageType::q2_k:
      return {80, 82};
    case StorageType::q3_k:
      return {108};
    case StorageType::q6_k:
      return {208};
    default:
      return {0, 2};
  }
}

class Blocks : public testing::TestWithParam<StorageType> {
 protected:
  // Random blocks with finite scales, subnormal ones among them.
  static std::string random_blocks(int64_t count, uint32_t seed) {
    const int size = traits_of(GetParam()).block_bytes;
    std::mt19937 random(seed);
    std::string bytes(count * size, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    for (int64_t i = 0; i < count; ++i) {
      for (const int place : f16_places(GetParam())) {
        char& high = bytes[i * size + place + 1];
        high = static_cast<char>(high & (random() % 4 == 0 ? 0x83 : 0xbb));
      }
    }
    return bytes;
  }
};

TEST_P(Blocks, HoldTheValuesOfTheDefinition) {
  const auto& [name, elements, size] = traits_of(GetParam());
  const int64_t rows = 5, columns = 2 * elements;
  const std::string bytes = random_blocks(rows * 2, 1);
  const test::MemoryCheckpoint checkpoint(GetParam(), {rows, columns}, bytes);
  const HostMatrix matrix = load_matrix(checkpoint, checkpoint.tensor(), {0, rows, 0, columns}, {});
  const auto& grouped = std::get<GroupedMatrix>(matrix);
  EXPECT_EQ(grouped.bits, form_of(GetParam()).bits);
  EXPECT_EQ(grouped.group, form_of(GetParam()).group);
  EXPECT_EQ(grouped.symmetric(), form_of(GetParam()).symmetric);
  const std::vector<float> values = dequantize(matrix);
  ASSERT_EQ(std::ssize(values), rows * columns);
  for (int64_t i = 0; i < rows * columns; ++i) {
    const ScalarBlock block{reinterpret_cast<const uint8_t*>(bytes.data()) + i / elements * size};
    ASSERT_EQ(values[i], block.value(GetParam(), static_cast<int>(i % elements))) << i;
  }
}

TEST_P(Blocks, SlicesEqualTheSameCutOfTheWhole) {
  const int elements = traits_of(GetParam()).block_elements;
  const int64_t rows = 7, columns = 3 * elements;
  const test::MemoryCheckpoint checkpoint(GetParam(), {rows, columns}, random_blocks(rows * 3, 2));
  const auto load = [&](const Slice& slice) {
    return load_matrix(checkpoint, checkpoint.tensor(), slice, {});
  };
  const std::vector<float> whole = dequantize(load({0, rows, 0, columns}));
  const int64_t cuts[] = {
      0,           16,     elements - 16, elements, elements + 16, elements + 5, 2 * elements,
      columns - 1, columns};
  for (const int64_t begin : cuts) {
    for (const int64_t end : cuts) {
      if (begin > end) continue;
      const Slice slice{2, 6, begin, end};
      const HostMatrix part = load(slice);
      const std::vector<float> values = dequantize(part);
      ASSERT_EQ(rows_of(part), 4);
      ASSERT_EQ(columns_of(part), end - begin);
      // Cuts on multiples of 16 keep the quantised form.
      EXPECT_EQ(std::holds_alternative<GroupedMatrix>(part), begin % 16 == 0 && end % 16 == 0);
      for (int64_t i = 0; i < std::ssize(values); ++i) {
        const int64_t row = slice.row_begin + i / (end - begin), column = begin + i % (end - begin);
        ASSERT_EQ(values[i], whole[row * columns + column]) << begin << ":" << end << " at " << i;
      }
    }
  }
}

TEST_P(Blocks, WithANotFiniteScaleAreRefused) {
  const auto& [name, elements, size] = traits_of(GetParam());
  for (const int place : f16_places(GetParam())) {
    std::string bytes = random_blocks(8, 3);
    bytes[5 * size + place + 1] = 0x7e;  // NaN in the second block of row 2
    const test::MemoryCheckpoint checkpoint(GetParam(), {4, 2 * elements}, bytes);
    try {
      load_matrix(checkpoint, checkpoint.tensor(), {1, 4, elements, 2 * elements}, {});
      ADD_FAILURE() << "loaded";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::model_files);
      EXPECT_NE(std::string(error.what())
                    .find(fmt::format("\"w\": the scale of the block at row 2, "
                                      "column {} ",
                                      elements)),
                std::string::npos)
          << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, Blocks,
                         testing::Values(StorageType::q4_0, StorageType::q4_1, StorageType::q5_0,
                                         StorageType::q5_1, StorageType::q8_0, StorageType::q2_k,
                                         StorageType::q3_k, StorageType::q4_k, StorageType::q5_k,
                                         StorageType::q6_k),
                         [](const auto& info) { return std::string(traits_of(info.param).name); });

}  // namespace
}  // namespace dinfer
