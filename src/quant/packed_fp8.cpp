#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/printable.h"
#include "quant/packed.h"
#include "quant/plain.h"
#include "quant/read_rows.h"

namespace dinfer {

namespace {

bool is_nan(std::byte code) { return (code & std::byte{0x7f}) == std::byte{0x7f}; }

// What each e4m3 code stands for: sign, 4 bits of exponent with bias 7, 3 of fraction; no
// infinities (https://arxiv.org/abs/2209.05433).
constexpr std::array<float, 256> make_values() {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    const int exponent = code >> 3 & 15, fraction = code & 7;
    float value = static_cast<float>(exponent == 0 ? fraction : 8 + fraction) / 512.0f;
    for (int i = 1; i < exponent; ++i) value *= 2;
    values[code] = code < 128 ? value : -value;
  }
  return values;
}

constexpr std::array<float, 256> kValues = make_values();

void check_numbers(const Checkpoint& checkpoint, const PackedWeight& packed, const std::byte* data,
                   int64_t count, int64_t row, int64_t column) {
  bool found = false;
  for (int64_t i = 0; i < count; ++i) found |= is_nan(data[i]);  // without exit: many at a time
  if (!found) return;
  const auto* at = std::find_if(data, data + count, is_nan);
  fail(ExitCode::model_files, "{}: tensor {}: the weight at row {}, column {} is NaN",
       checkpoint.file_of(packed.codes), printable(packed.codes.name), row, column + (at - data));
}

// What each code stands for in a block with that scale, as the type wanted.
void fill_table(float scale, std::array<float, 256>& table) {
  std::ranges::transform(kValues, table.begin(), [&](float value) { return value * scale; });
}

void fill_table(float scale, std::array<uint16_t, 256>& table) {
  std::array<float, 256> exact;
  fill_table(scale, exact);
  to_f16(exact.data(), std::ssize(exact), table.data());
}

// Looks values up in a table for each block of columns, made anew where the next rows' blocks
// begin.
template <class Value, class Use>
void read_rows_as(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                  const Use& use) {
  const PackedWeight& packed = *tensor.packed;
  const int64_t first_block = slice.column_begin / packed.block_columns;
  const int64_t blocks = packed.blocks(slice.column_end) - first_block;
  const std::vector<float> scales = read_scales(
      checkpoint, packed, {slice.row_begin, slice.row_end, first_block, first_block + blocks});
  const int64_t width = slice.column_end - slice.column_begin;
  std::vector<std::array<Value, 256>> tables(blocks);
  std::vector<Value> values(width);
  const auto convert = [&](const std::byte* codes, int64_t row) {
    check_numbers(checkpoint, packed, codes, width, row, slice.column_begin);
    if (row == slice.row_begin || row % packed.block_rows == 0) {
      const float* of_row = scales.data() + (row - slice.row_begin) * blocks;
      for (int64_t block = 0; block < blocks; ++block) fill_table(of_row[block], tables[block]);
    }
    for (int64_t block = 0, at = 0; block < blocks; ++block) {
      const int64_t block_end = (first_block + block + 1) * packed.block_columns;
      const int64_t end = std::min(width, block_end - slice.column_begin);
      const Value* table = tables[block].data();
      for (; at < end; ++at) values[at] = table[std::to_integer<uint8_t>(codes[at])];
    }
    use(row - slice.row_begin, values.data());
  };
  read_rows(checkpoint, packed.codes, tensor.shape[1], slice.row_begin, slice.row_end,
            slice.column_begin, slice.column_end,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              for (int64_t i = 0; i < rows; ++i) convert(data + i * stride, row + i);
            });
}

}  // namespace

void read_fp8_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                   const UseRow& use) {
  read_rows_as<float>(checkpoint, tensor, slice, use);
}

void read_fp8_halves(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                     const UseHalves& use) {
  read_rows_as<uint16_t>(checkpoint, tensor, slice, use);
}

}  // namespace dinfer
