#include <algorithm>
#include <array>

#include "base/error.h"
#include "checkpoint/printable.h"
#include "quant/packed.h"
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

}  // namespace

void read_fp8_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                   const UseRow& use) {
  const PackedWeight& packed = *tensor.packed;
  const int64_t first_block = slice.column_begin / packed.block_columns;
  const int64_t blocks = packed.blocks(slice.column_end) - first_block;
  const std::vector<float> scales = read_scales(
      checkpoint, packed, {slice.row_begin, slice.row_end, first_block, first_block + blocks});
  const int64_t width = slice.column_end - slice.column_begin;
  std::vector<float> values(width);
  const auto convert = [&](const std::byte* codes, int64_t row) {
    check_numbers(checkpoint, packed, codes, width, row, slice.column_begin);
    const float* scale = scales.data() + (row - slice.row_begin) * blocks;
    for (int64_t at = 0, block = first_block; at < width; ++block, ++scale) {
      const int64_t end = std::min(width, (block + 1) * packed.block_columns - slice.column_begin);
      for (; at < end; ++at) values[at] = kValues[std::to_integer<uint8_t>(codes[at])] * *scale;
    }
    use(row - slice.row_begin, values.data());
  };
  read_rows(checkpoint, packed.codes, tensor.shape[1], slice.row_begin, slice.row_end,
            slice.column_begin, slice.column_end,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              for (int64_t i = 0; i < rows; ++i) convert(data + i * stride, row + i);
            });
}

}  // namespace dinfer
