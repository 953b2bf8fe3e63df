#include "quant/grouped.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "base/error.h"
#include "quant/quantize.h"

namespace dinfer {

namespace {

constexpr int kLeastGroup = 16;

DenseMatrix dense_columns(const GroupedMatrix& matrix, int64_t begin, int64_t end) {
  const std::vector<float> values = dequantize(matrix);
  const int64_t width = end - begin;
  DenseMatrix out{DType::f32, matrix.rows, width, {}};
  out.data.resize(matrix.rows * width * sizeof(float));
  if (out.data.empty()) return out;
  for (int64_t r = 0; r < matrix.rows; ++r) {
    std::memcpy(out.data.data() + r * width * sizeof(float), &values[r * matrix.columns + begin],
                width * sizeof(float));
  }
  return out;
}

// Each value `times` times in a row.
std::vector<float> repeat(const std::vector<float>& values, int times) {
  std::vector<float> out(values.size() * times);
  for (size_t i = 0; i < values.size(); ++i) std::fill_n(&out[i * times], times, values[i]);
  return out;
}

// Elements [begin, end) of each row of `width` elements.
template <class T>
std::vector<T> cut_rows(const std::vector<T>& in, int64_t width, int64_t begin, int64_t end) {
  std::vector<T> out;
  if (in.empty()) return out;
  out.reserve(in.size() / width * (end - begin));
  for (size_t row = 0; row < in.size(); row += width) {
    out.insert(out.end(), in.begin() + row + begin, in.begin() + row + end);
  }
  return out;
}

}  // namespace

GroupedMatrix make_grouped(int bits, int group, bool symmetric, int64_t rows, int64_t columns) {
  check(columns % group == 0, "groups must divide the columns");
  GroupedMatrix out{bits, group, rows, columns, {}, {}, {}};
  out.codes.resize(rows * columns * bits / 8);
  out.scales.resize(rows * out.groups());
  if (!symmetric) out.minimums.resize(out.scales.size());
  return out;
}

HostMatrix slice_columns(GroupedMatrix matrix, int64_t begin, int64_t end) {
  check(0 <= begin && begin <= end && end <= matrix.columns, "slice outside the matrix");
  if (begin == 0 && end == matrix.columns) return matrix;
  const auto group = static_cast<int>(std::gcd(std::gcd(begin, end), int64_t{matrix.group}));
  if (group < kLeastGroup) return dense_columns(matrix, begin, end);
  matrix = split_groups(std::move(matrix), group);
  const int64_t row_bytes = matrix.columns * matrix.bits / 8;
  GroupedMatrix out{matrix.bits, group, matrix.rows, end - begin, {}, {}, {}};
  out.codes = cut_rows(matrix.codes, row_bytes, begin * matrix.bits / 8, end * matrix.bits / 8);
  out.scales = cut_rows(matrix.scales, matrix.groups(), begin / group, end / group);
  out.minimums = cut_rows(matrix.minimums, matrix.groups(), begin / group, end / group);
  return out;
}

GroupedMatrix split_groups(GroupedMatrix matrix, int group) {
  check(matrix.group % group == 0, "groups can only be split");
  const int times = matrix.group / group;
  if (times == 1) return matrix;
  matrix.scales = repeat(matrix.scales, times);
  matrix.minimums = repeat(matrix.minimums, times);
  matrix.group = group;
  return matrix;
}

GroupedMatrix widen_codes(GroupedMatrix matrix) {
  if (matrix.bits == 8) return matrix;
  const int minus = matrix.symmetric() ? 8 : 0;
  std::vector<uint8_t> codes(matrix.codes.size() * 2);
  for (size_t i = 0; i < matrix.codes.size(); ++i) {
    codes[2 * i] = static_cast<uint8_t>((matrix.codes[i] & 15) - minus);
    codes[2 * i + 1] = static_cast<uint8_t>((matrix.codes[i] >> 4) - minus);
  }
  matrix.codes = std::move(codes);
  matrix.bits = 8;
  return matrix;
}

GroupedMatrix add_minimums(GroupedMatrix matrix) {
  if (!matrix.symmetric()) return matrix;
  const float zero = matrix.bits == 4 ? 8.0f : 128.0f;
  matrix.minimums.resize(matrix.scales.size());
  for (size_t i = 0; i < matrix.scales.size(); ++i) matrix.minimums[i] = -zero * matrix.scales[i];
  if (matrix.bits == 8) {
    for (uint8_t& code : matrix.codes) code ^= 0x80;  // int8 + 128
  }
  return matrix;
}

}  // namespace dinfer
