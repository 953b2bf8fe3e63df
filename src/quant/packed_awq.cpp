#include <cstring>

#include "quant/packed.h"
#include "quant/read_rows.h"

namespace dinfer {

namespace {

// Which code of a word is that of row `row` of its eight.
int64_t place_of(int64_t row) { return row % 2 * 4 + row / 2; }

}  // namespace

// A word has one input's codes of eight outputs: eight words make eight words of one output each.
std::vector<uint8_t> read_awq_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& slice) {
  constexpr int64_t kEight = 8;
  constexpr int64_t kWordBytes = 4;
  const int64_t begin = slice.row_begin / kEight, end = (slice.row_end + kEight - 1) / kEight;
  const int64_t row_bytes = (slice.column_end - slice.column_begin) / kEight * kWordBytes;
  std::vector<uint8_t> out((slice.row_end - slice.row_begin) * row_bytes);
  const auto move_eight = [&](const std::byte* from, int64_t stride, int64_t word, int64_t column) {
    uint32_t turned[kEight] = {};
    for (int64_t i = 0; i < kEight; ++i) {
      uint32_t codes;
      std::memcpy(&codes, from + i * stride, kWordBytes);
      for (int64_t j = 0; j < kEight; ++j) {
        turned[j] |= uint32_t{code_of(codes, place_of(j), 4)} << (4 * i);
      }
    }
    for (int64_t j = 0; j < kEight; ++j) {
      const int64_t row = word * kEight + j;
      if (row < slice.row_begin || row >= slice.row_end) continue;
      std::memcpy(out.data() + (row - slice.row_begin) * row_bytes + column / 2, &turned[j],
                  kWordBytes);
    }
  };
  read_rows(
      checkpoint, packed.codes, packed.codes.shape[1] * kWordBytes, slice.column_begin,
      slice.column_end, begin * kWordBytes, end * kWordBytes,
      [&](int64_t first, int64_t columns, const std::byte* data, int64_t stride) {
        for (int64_t word = begin; word < end; ++word) {
          for (int64_t column = 0; column < columns; column += kEight) {
            move_eight(data + column * stride + (word - begin) * kWordBytes, stride, word,
                       first + column - slice.column_begin);
          }
        }
      },
      2 * kEight);
  return out;
}

std::vector<uint8_t> read_awq_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& blocks) {
  const int64_t begin = blocks.row_begin / 8, end = (blocks.row_end + 7) / 8;
  const std::vector<uint32_t> words =
      read_words(checkpoint, *packed.zeros, blocks.column_begin, blocks.column_end, begin, end);
  std::vector<uint8_t> out;
  for (int64_t row = blocks.row_begin; row < blocks.row_end; ++row) {
    for (int64_t block = 0; block < blocks.column_end - blocks.column_begin; ++block) {
      out.push_back(code_of(words[block * (end - begin) + row / 8 - begin], place_of(row % 8), 4));
    }
  }
  return out;
}

}  // namespace dinfer
