#include "quant/plain_matrix_reader.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "tests/unit/quant/memory_checkpoint.h"

namespace dinfer {
namespace {

float value_at(int64_t index) { return static_cast<float>(index % 1000003); }

test::MemoryCheckpoint counting_checkpoint(int64_t rows, int64_t columns) {
  std::vector<float> values(rows * columns);
  for (int64_t i = 0; i < rows * columns; ++i) values[i] = value_at(i);
  return {StorageType::f32,
          {rows, columns},
          std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float))};
}

// Each band by a thread of its own.
DenseMatrix read_all(PlainMatrixReader& reader) {
  std::vector<std::thread> threads;
  for (int band = 0; band < reader.bands(); ++band) {
    threads.emplace_back([&reader, band] { reader.read(band); });
  }
  for (std::thread& thread : threads) thread.join();
  return reader.take();
}

TEST(PlainMatrixReader, GivesThePartsBelowEachOther) {
  const auto checkpoint = counting_checkpoint(50, 20);
  const auto memory = std::make_shared<RecycledMemory>();
  const std::vector<std::vector<Slice>> cases = {
      {{0, 50, 0, 20}}, {{3, 9, 0, 20}, {40, 50, 0, 20}, {0, 1, 0, 20}}, {{5, 45, 4, 11}}};
  for (const std::vector<Slice>& slices : cases) {
    std::vector<StoredSlice> parts;
    std::vector<HostMatrix> expected;
    for (const Slice& slice : slices) {
      parts.push_back({&checkpoint.tensor(), slice});
      expected.push_back(load_matrix(checkpoint, checkpoint.tensor(), slice, {}));
    }
    PlainMatrixReader reader(checkpoint, parts, memory);
    EXPECT_EQ(dequantize(read_all(reader)), dequantize(stack_rows(std::move(expected))));
  }
}

TEST(PlainMatrixReader, CutsLargeMatricesIntoBands) {
  const int64_t rows = 5000, columns = 4096;
  const auto checkpoint = counting_checkpoint(rows, columns);
  PlainMatrixReader reader(
      checkpoint,
      {{&checkpoint.tensor(), {1, rows, 0, columns}}, {&checkpoint.tensor(), {0, 1, 0, columns}}},
      std::make_shared<RecycledMemory>());
  EXPECT_EQ(reader.bands(), 4);
  const DenseMatrix matrix = read_all(reader);
  const auto* values = reinterpret_cast<const float*>(matrix.data.data());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t stored = row + 1 < rows ? row + 1 : 0;
    EXPECT_EQ(values[row * columns], value_at(stored * columns));
    EXPECT_EQ(values[(row + 1) * columns - 1], value_at((stored + 1) * columns - 1));
  }
}

TEST(PlainMatrixReader, RefusesNan) {
  std::vector<float> values(12, 1.0f);
  values[7] = NAN;
  const test::MemoryCheckpoint checkpoint(
      StorageType::f32, {4, 3}, std::string(reinterpret_cast<const char*>(values.data()), 48));
  PlainMatrixReader reader(checkpoint, {{&checkpoint.tensor(), {0, 4, 0, 3}}},
                           std::make_shared<RecycledMemory>());
  try {
    reader.read(0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("row 2, column 1"), std::string::npos);
  }
}

}  // namespace
}  // namespace dinfer
