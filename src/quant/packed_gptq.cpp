#include <cstring>

#include "quant/packed.h"
#include "quant/read_rows.h"

namespace dinfer {

// A word holds what the family has in four bytes of a row, in the same order: words are moved from
// rows of words of one input each to rows of one output each.
std::vector<uint8_t> read_gptq_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                     const Slice& slice) {
  constexpr int64_t kWordBytes = 4;
  constexpr int64_t kTogether = 16;  // words that fill a line of the result's memory
  const int64_t rows = slice.row_end - slice.row_begin;
  const int64_t codes = 32 / packed.bits;  // of a word
  const int64_t begin = slice.column_begin / codes, end = slice.column_end / codes;
  const int64_t row_bytes = (end - begin) * kWordBytes;
  std::vector<uint8_t> out(rows * row_bytes);
  read_rows(
      checkpoint, packed.codes, packed.codes.shape[1] * kWordBytes, begin, end,
      slice.row_begin * kWordBytes, slice.row_end * kWordBytes,
      [&](int64_t first, int64_t words, const std::byte* data, int64_t stride) {
        for (int64_t at = 0; at < words; at += kTogether) {
          const int64_t count = std::min(kTogether, words - at);
          for (int64_t row = 0; row < rows; ++row) {
            uint8_t* to = out.data() + row * row_bytes + (first + at - begin) * kWordBytes;
            const std::byte* from = data + at * stride + row * kWordBytes;
            for (int64_t i = 0; i < count; ++i, to += kWordBytes, from += stride) {
              std::memcpy(to, from, kWordBytes);
            }
          }
        }
      },
      kTogether);
  return out;
}

std::vector<uint8_t> read_gptq_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                     const Slice& blocks) {
  const int64_t codes = 32 / packed.bits;
  const int64_t begin = blocks.row_begin / codes, end = (blocks.row_end + codes - 1) / codes;
  const std::vector<uint32_t> words =
      read_words(checkpoint, *packed.zeros, blocks.column_begin, blocks.column_end, begin, end);
  const int mask = (1 << packed.bits) - 1;
  std::vector<uint8_t> out;
  for (int64_t row = blocks.row_begin; row < blocks.row_end; ++row) {
    for (int64_t block = 0; block < blocks.column_end - blocks.column_begin; ++block) {
      const uint32_t word = words[block * (end - begin) + row / codes - begin];
      // A zero of 0 is stored as the largest code where 1 has been taken off.
      const int zero = (code_of(word, row % codes, packed.bits) + packed.zero_offset) & mask;
      out.push_back(static_cast<uint8_t>(zero));
    }
  }
  return out;
}

}  // namespace dinfer
