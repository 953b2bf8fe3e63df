#include "quant/packed.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "checkpoint/printable.h"
#include "quant/plain.h"
#include "quant/read_rows.h"

namespace dinfer {

namespace {

constexpr int64_t kLeastGroup = 16, kMostGroup = 128;
constexpr int64_t kWordColumns = 8;  // where words begin and end, of 4 and of 8 bits

// Rows of the slice, and the blocks that its columns touch; all of them where any column may be of
// any.
Slice blocks_of(const TensorInfo& tensor, const Slice& slice) {
  const PackedWeight& packed = *tensor.packed;
  if (packed.by_activation) {
    return {slice.row_begin, slice.row_end, 0, packed.blocks(tensor.shape[1])};
  }
  return {slice.row_begin, slice.row_end, slice.column_begin / packed.block_columns,
          packed.blocks(slice.column_end)};
}

std::vector<uint8_t> read_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                const Slice& slice) {
  switch (packed.layout) {
    case CodeLayout::gptq:
      return read_gptq_codes(checkpoint, packed, slice);
    case CodeLayout::awq:
      return read_awq_codes(checkpoint, packed, slice);
    default:
      return read_row_codes(checkpoint, packed, slice);
  }
}

std::vector<uint8_t> read_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                const Slice& blocks) {
  if (!packed.zeros) {
    const int64_t rows = blocks.row_end - blocks.row_begin;
    const auto middle = static_cast<uint8_t>(1 << (packed.bits - 1));
    return std::vector<uint8_t>(rows * (blocks.column_end - blocks.column_begin), middle);
  }
  switch (packed.layout) {
    case CodeLayout::gptq:
      return read_gptq_zeros(checkpoint, packed, blocks);
    case CodeLayout::awq:
      return read_awq_zeros(checkpoint, packed, blocks);
    default:
      return read_row_zeros(checkpoint, packed, blocks);
  }
}

// The block of each of the slice's columns.
std::vector<int32_t> read_order(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                int64_t begin, int64_t end) {
  const PackedWeight& packed = *tensor.packed;
  std::vector<int32_t> order(end - begin);
  if (packed.order && !order.empty()) {
    checkpoint.read(*packed.order, begin * sizeof(int32_t),
                    std::as_writable_bytes(std::span(order)));
  }
  const auto blocks = static_cast<int32_t>(packed.blocks(tensor.shape[1]));
  for (int64_t i = 0; i < std::ssize(order); ++i) {
    const auto run = static_cast<int32_t>((begin + i) / packed.block_columns);
    if (!packed.order) order[i] = run;
    if (order[i] >= 0 && order[i] < blocks && (packed.by_activation || order[i] == run)) continue;
    fail(ExitCode::model_files, "{}: tensor {} says that input {} is of group {}; {}",
         checkpoint.file_of(*packed.order), printable(packed.order->name), begin + i, order[i],
         packed.by_activation
             ? fmt::format("there are {}", blocks)
             : fmt::format("without desc_act, and with groups of {}, it must be of {}",
                           packed.block_columns, run));
  }
  return order;
}

void read_integer_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                       const UseRow& use) {
  const PackedWeight& packed = *tensor.packed;
  Slice words = slice;
  words.column_begin = slice.column_begin / kWordColumns * kWordColumns;
  words.column_end = std::min(tensor.shape[1],
                              (slice.column_end + kWordColumns - 1) / kWordColumns * kWordColumns);
  const Slice blocks = blocks_of(tensor, slice);
  const std::vector<int32_t> order =
      read_order(checkpoint, tensor, slice.column_begin, slice.column_end);
  const std::vector<uint8_t> codes = read_codes(checkpoint, packed, words);
  const std::vector<float> scales = read_scales(checkpoint, packed, blocks);
  const std::vector<uint8_t> zeros = read_zeros(checkpoint, packed, blocks);

  const int64_t first = slice.column_begin - words.column_begin;
  const int64_t row_codes = (words.column_end - words.column_begin) * packed.bits / 8;
  const int64_t row_blocks = blocks.column_end - blocks.column_begin;
  std::vector<float> values(order.size());
  for (int64_t row = 0; row < slice.row_end - slice.row_begin; ++row) {
    const uint8_t* of_row = codes.data() + row * row_codes;
    for (int64_t i = 0; i < std::ssize(order); ++i) {
      const int64_t at = first + i;
      const int code = packed.bits == 8 ? of_row[at] : of_row[at / 2] >> (at % 2 * 4) & 15;
      const int64_t block = row * row_blocks + order[i] - blocks.column_begin;
      values[i] = scales[block] * static_cast<float>(code - zeros[block]);
    }
    use(row, values.data());
  }
}

// Where a cut leaves groups too small for the family.
DenseMatrix load_f32(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice) {
  DenseMatrix out{
      DType::f32, slice.row_end - slice.row_begin, slice.column_end - slice.column_begin, {}};
  const int64_t row_bytes = out.columns * static_cast<int64_t>(sizeof(float));
  out.data.resize(out.rows * row_bytes);
  read_packed_rows(checkpoint, tensor, slice, [&](int64_t row, const float* values) {
    std::memcpy(out.data.data() + row * row_bytes, values, row_bytes);
  });
  return out;
}

}  // namespace

HostMatrix load_packed(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice) {
  const PackedWeight& packed = *tensor.packed;
  const int64_t rows = slice.row_end - slice.row_begin;
  const int64_t columns = slice.column_end - slice.column_begin;
  const int64_t cuts = std::gcd(slice.column_begin, slice.column_end);
  const int64_t common = std::gcd(cuts, packed.block_columns);
  const auto group = static_cast<int>(std::min(common & -common, kMostGroup));
  if (group < kLeastGroup) return load_f32(checkpoint, tensor, slice);

  read_order(checkpoint, tensor, slice.column_begin, slice.column_end);  // runs, or an error
  const Slice blocks = blocks_of(tensor, slice);
  const std::vector<float> scales = read_scales(checkpoint, packed, blocks);
  const std::vector<uint8_t> zeros = read_zeros(checkpoint, packed, blocks);
  const int middle = 1 << (packed.bits - 1);
  const bool symmetric = std::ranges::all_of(zeros, [&](int zero) { return zero == middle; });
  GroupedMatrix out{packed.bits, group, rows, columns, read_codes(checkpoint, packed, slice),
                    {},          {}};
  if (symmetric && packed.bits == 8) {
    for (uint8_t& code : out.codes) code ^= 0x80;  // two's complement
  }
  const int64_t row_blocks = blocks.column_end - blocks.column_begin;
  out.scales.reserve(rows * out.groups());
  if (!symmetric) out.minimums.reserve(rows * out.groups());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = slice.column_begin; column < slice.column_end; column += group) {
      const int64_t at = row * row_blocks + column / packed.block_columns - blocks.column_begin;
      out.scales.push_back(scales[at]);
      if (!symmetric) out.minimums.push_back(scales[at] * -static_cast<float>(zeros[at]));
    }
  }
  return out;
}

void read_packed_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                      const UseRow& use) {
  if (slice.row_begin == slice.row_end || slice.column_begin == slice.column_end) return;
  if (tensor.packed->layout == CodeLayout::fp8) {
    read_fp8_rows(checkpoint, tensor, slice, use);
  } else {
    read_integer_rows(checkpoint, tensor, slice, use);
  }
}

void read_packed_halves(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                        const UseHalves& use) {
  if (slice.row_begin == slice.row_end || slice.column_begin == slice.column_end) return;
  if (tensor.packed->layout == CodeLayout::fp8) {
    return read_fp8_halves(checkpoint, tensor, slice, use);
  }
  std::vector<uint16_t> halves(slice.column_end - slice.column_begin);
  read_integer_rows(checkpoint, tensor, slice, [&](int64_t row, const float* values) {
    to_f16(values, std::ssize(halves), halves.data());
    use(row, halves.data());
  });
}

std::vector<uint32_t> read_words(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                 int64_t row_begin, int64_t row_end, int64_t begin, int64_t end) {
  const int64_t width = end - begin;
  constexpr auto kWordBytes = static_cast<int64_t>(sizeof(uint32_t));
  std::vector<uint32_t> words((row_end - row_begin) * width);
  read_rows(
      checkpoint, tensor, tensor.shape[1] * kWordBytes, row_begin, row_end, begin * kWordBytes,
      end * kWordBytes, [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
        for (int64_t i = 0; i < rows; ++i) {
          std::memcpy(&words[(row + i - row_begin) * width], data + i * stride, width * kWordBytes);
        }
      });
  return words;
}

std::vector<float> read_scales(const Checkpoint& checkpoint, const PackedWeight& packed,
                               const Slice& blocks) {
  const int64_t rows = blocks.row_end - blocks.row_begin;
  const int64_t width = blocks.column_end - blocks.column_begin;
  std::vector<float> out;
  out.reserve(rows * width);
  if (packed.transposed()) {
    const std::vector<float> stored = dequantize(load_matrix(
        checkpoint, packed.scales,
        {blocks.column_begin, blocks.column_end, blocks.row_begin, blocks.row_end}, {}));
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t block = 0; block < width; ++block) out.push_back(stored[block * rows + row]);
    }
    return out;
  }
  const int64_t begin = blocks.row_begin / packed.block_rows;
  const int64_t end = (blocks.row_end + packed.block_rows - 1) / packed.block_rows;
  const std::vector<float> stored = dequantize(load_matrix(
      checkpoint, packed.scales, {begin, end, blocks.column_begin, blocks.column_end}, {}));
  for (int64_t row = blocks.row_begin; row < blocks.row_end; ++row) {
    const auto* of_row = stored.data() + (row / packed.block_rows - begin) * width;
    out.insert(out.end(), of_row, of_row + width);
  }
  return out;
}

}  // namespace dinfer
