#include "quant/plain_matrix_reader.h"

#include <algorithm>

#include "base/error.h"

namespace dinfer {
namespace {

constexpr int64_t kBandBytes = int64_t{32} << 20;

}  // namespace

PlainMatrixReader::PlainMatrixReader(const Checkpoint& checkpoint, std::vector<StoredSlice> parts,
                                     std::shared_ptr<RecycledMemory> memory)
    : checkpoint_(checkpoint), memory_(std::move(memory)) {
  const auto width = [](const Slice& slice) { return slice.column_end - slice.column_begin; };
  matrix_.type = plain_type(*parts.at(0).tensor);
  matrix_.columns = width(parts[0].slice);
  const int64_t rows_a_band = std::max<int64_t>(1, kBandBytes / std::max<int64_t>(1, row_bytes()));
  for (const auto& [tensor, slice] : parts) {
    check(plain_type(*tensor) == matrix_.type && width(slice) == matrix_.columns,
          "parts of one type and width");
    for (int64_t row = slice.row_begin; row < slice.row_end; row += rows_a_band) {
      Slice band = slice;
      band.row_begin = row;
      band.row_end = std::min(row + rows_a_band, slice.row_end);
      bands_.push_back({{tensor, band}, matrix_.rows});
      matrix_.rows += band.row_end - band.row_begin;
    }
  }
}

void PlainMatrixReader::read(int band) {
  std::call_once(allocated_, [&] {
    matrix_.data = RawBytes(matrix_.rows * row_bytes(), RawAllocator<std::byte>(memory_));
  });
  const auto& [stored, row] = bands_.at(band);
  read_plain(checkpoint_, *stored.tensor, stored.slice, matrix_.data.data() + row * row_bytes());
}

int64_t PlainMatrixReader::row_bytes() const {
  return matrix_.columns * static_cast<int64_t>(bytes_of(matrix_.type));
}

}  // namespace dinfer
