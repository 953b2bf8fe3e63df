#pragma once

#include <cstddef>
#include <cstdint>

namespace dinfer::cuda {

enum class Packing : uint8_t { f32, f16, bf16, grouped };

// Rows that are packed together when quantised: those of one tensor-core tile.
constexpr int64_t kPanel = 16;

// Columns are padded to a multiple of this with zeros.
constexpr int64_t kColumnBlock = 64;

// A weight matrix in device memory as the kernels read it; a view. `data` is 256-byte aligned.
//
// Dense: [rows, padded_columns] row-major.
// Grouped: codes [panels, padded_columns / 64, 16 x 64 codes], then scales
// [panels, padded_groups, 8, n]; pack.cu has the order within. Rows past `rows` and columns past
// `columns` have scale and minimum 0.
struct PackedMatrix {
  Packing packing = Packing::f32;
  int bits = 0;   // grouped: 4 or 8
  int group = 0;  // grouped: columns that share a scale
  bool symmetric = true;
  bool half_scales = false;  // scales and minimums are f16: used where that loses nothing
  int64_t rows = 0;
  int64_t columns = 0;
  std::byte* data = nullptr;

  constexpr int64_t padded_columns() const {
    return (columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
  }
  constexpr int64_t panels() const { return (rows + kPanel - 1) / kPanel; }
  constexpr int64_t padded_groups() const { return padded_columns() / group; }
  constexpr size_t element_bytes() const { return packing == Packing::f32 ? 4 : 2; }
  // Scales, and minimums where there are some, of one group of one panel.
  constexpr size_t scale_bytes() const {
    return kPanel * (half_scales ? 2 : 4) * (symmetric ? 1 : 2);
  }
  constexpr size_t panel_code_bytes() const { return kPanel * padded_columns() * bits / 8; }
  constexpr size_t code_bytes() const { return panels() * panel_code_bytes(); }
  constexpr size_t bytes() const {
    if (packing != Packing::grouped) return rows * padded_columns() * element_bytes();
    return code_bytes() + panels() * padded_groups() * scale_bytes();
  }
  constexpr const std::byte* scales() const { return data + code_bytes(); }
};

}  // namespace dinfer::cuda
