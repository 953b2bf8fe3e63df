#include <cstring>

#include "quant/packed.h"
#include "quant/read_rows.h"

namespace dinfer {

// Rows of words hold what the family has in the same bytes; int8 codes lack 128.
std::vector<uint8_t> read_row_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& slice) {
  const int64_t stored_bytes = packed.codes.shape[1] * traits_of(packed.codes.type).block_bytes;
  const int64_t begin = slice.column_begin * packed.bits / 8;
  const int64_t end = slice.column_end * packed.bits / 8;
  std::vector<uint8_t> out((slice.row_end - slice.row_begin) * (end - begin));
  read_rows(checkpoint, packed.codes, stored_bytes, slice.row_begin, slice.row_end, begin, end,
            [&](int64_t row, int64_t rows, const std::byte* data, int64_t stride) {
              for (int64_t i = 0; i < rows; ++i) {
                std::memcpy(out.data() + (row + i - slice.row_begin) * (end - begin),
                            data + i * stride, end - begin);
              }
            });
  if (packed.layout == CodeLayout::bytes) {
    for (uint8_t& code : out) code ^= 0x80;
  }
  return out;
}

std::vector<uint8_t> read_row_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& blocks) {
  const int64_t width = blocks.column_end - blocks.column_begin;
  std::vector<uint8_t> out;
  if (packed.zeros->type == StorageType::i8) {
    const auto middle = static_cast<uint8_t>(1 << (packed.bits - 1));
    const auto mask = static_cast<uint8_t>((1 << packed.bits) - 1);
    read_rows(checkpoint, *packed.zeros, packed.zeros->shape[1], blocks.row_begin, blocks.row_end,
              blocks.column_begin, blocks.column_end,
              [&](int64_t, int64_t rows, const std::byte* data, int64_t stride) {
                for (int64_t i = 0; i < rows; ++i, data += stride) {
                  for (int64_t block = 0; block < width; ++block) {
                    const int zero = std::to_integer<int>(data[block]) + middle;
                    out.push_back(static_cast<uint8_t>(zero & mask));
                  }
                }
              });
    return out;
  }
  const int64_t codes = 32 / packed.bits;
  const int64_t begin = blocks.row_begin / codes, end = (blocks.row_end + codes - 1) / codes;
  const std::vector<uint32_t> words =
      read_words(checkpoint, *packed.zeros, begin, end, blocks.column_begin, blocks.column_end);
  for (int64_t row = blocks.row_begin; row < blocks.row_end; ++row) {
    for (int64_t block = 0; block < width; ++block) {
      const uint32_t word = words[(row / codes - begin) * width + block];
      out.push_back(code_of(word, row % codes, packed.bits));
    }
  }
  return out;
}

}  // namespace dinfer
