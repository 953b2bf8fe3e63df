#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"

namespace dinfer {

inline constexpr int64_t kPieceBytes = 256 << 10;  // of a file at a time: stays in a core's cache
inline constexpr int64_t kOwnReadBytes = 16
                                         << 10;  // of a row: from here a read of its own is better

// Bytes [begin, end) of rows [row_begin, row_end), each `row_bytes` long in the file. Hands them to
// use(row, rows, data, stride) in pieces: `data` is where the bytes of the first row begin, and
// each row follows `stride` bytes after the one before. Pieces but the last have a multiple of
// `together` rows.
template <class Use>
void read_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, int64_t row_bytes,
               int64_t row_begin, int64_t row_end, int64_t begin, int64_t end, Use use,
               int64_t together = 1) {
  const int64_t wanted = end - begin;
  if (wanted == 0) return;
  const bool own_reads = wanted < row_bytes && wanted >= kOwnReadBytes;
  const int64_t stride = own_reads ? wanted : row_bytes;
  const int64_t rows_a_piece = std::max<int64_t>(1, kPieceBytes / stride / together) * together;
  std::vector<std::byte> piece;
  for (int64_t row = row_begin; row < row_end; row += rows_a_piece) {
    const int64_t rows = std::min(rows_a_piece, row_end - row);
    piece.resize((rows - 1) * stride + wanted);
    if (own_reads) {
      for (int64_t i = 0; i < rows; ++i) {
        checkpoint.read(tensor, (row + i) * row_bytes + begin,
                        std::span(piece).subspan(i * wanted, wanted));
      }
    } else {
      checkpoint.read(tensor, row * row_bytes + begin, piece);
    }
    use(row, rows, piece.data(), stride);
  }
}

}  // namespace dinfer
