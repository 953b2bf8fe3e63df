#pragma once

#include <cstddef>
#include <cstdint>
#include <variant>
#include <vector>

#include "base/dtype.h"
#include "base/recycled_memory.h"

namespace dinfer {

// A weight matrix in host memory between its file and its device: rows = outputs, columns = inputs.
// One of two forms.

struct DenseMatrix {
  DType type = DType::f32;
  int64_t rows = 0;
  int64_t columns = 0;
  RawBytes data;  // [rows, columns] row-major, `type`
};

// The one quantised family: grouped affine integers. Element (r, c) of group g = c / group is
//   symmetric,  4 bits: scale[r, g] * (code - 8)          code 0..15
//   symmetric,  8 bits: scale[r, g] * int8(code)          code -128..127, two's complement
//   asymmetric, 4 or 8 bits: scale[r, g] * code + minimum[r, g]      code unsigned
struct GroupedMatrix {
  int bits = 4;    // 4 or 8
  int group = 32;  // columns that share a scale: 16, 32, 64 or 128; divides `columns`
  int64_t rows = 0;
  int64_t columns = 0;
  std::vector<uint8_t> codes;   // [rows, columns * bits / 8]; 4 bits: even column in the low nibble
  std::vector<float> scales;    // [rows, columns / group]
  std::vector<float> minimums;  // [rows, columns / group]; empty: symmetric

  bool symmetric() const { return minimums.empty(); }
  int64_t groups() const { return columns / group; }
};

using HostMatrix = std::variant<DenseMatrix, GroupedMatrix>;

inline int64_t rows_of(const HostMatrix& m) { return std::visit([](const auto& x) { return x.rows; }, m); }
inline int64_t columns_of(const HostMatrix& m) { return std::visit([](const auto& x) { return x.columns; }, m); }

}  // namespace dinfer
