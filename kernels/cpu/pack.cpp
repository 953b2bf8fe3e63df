#include "kernels/cpu/pack.h"

#include <cstring>

#include "base/dtype.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/pack.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace dinfer::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

bool AllFitF16(const float* values, size_t count) {
  const hn::ScalableTag<float> df;
  const hn::ScalableTag<uint32_t> du;
  const hn::Rebind<hwy::float16_t, decltype(df)> dh;
  const size_t n = hn::Lanes(df);
  auto differing = hn::Zero(du);
  size_t i = 0;
  for (; i + n <= count; i += n) {
    const auto v = hn::LoadU(df, values + i);
    const auto back = hn::PromoteTo(df, hn::DemoteTo(dh, v));
    differing = hn::Or(differing, hn::Xor(hn::BitCast(du, v), hn::BitCast(du, back)));
  }
  if (!hn::AllTrue(du, hn::Eq(differing, hn::Zero(du)))) return false;
  for (; i < count; ++i) {
    if (f16_to_f32(f32_to_f16(values[i])) != values[i]) return false;
  }
  return true;
}

// 16 floats to 16 halves.
void ToF16(const float* from, std::byte* to) {
  const hn::ScalableTag<float> df;
  const hn::Rebind<hwy::float16_t, decltype(df)> dh;
  for (size_t i = 0; i < size_t{kPanel}; i += hn::Lanes(df)) {
    hn::StoreU(hn::DemoteTo(dh, hn::LoadU(df, from + i)), dh,
               reinterpret_cast<hwy::float16_t*>(to) + i);
  }
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dinfer::cpu {
namespace {

HWY_EXPORT(AllFitF16);
HWY_EXPORT(ToF16);

// One value per row of a panel, strided in the source; rows that do not exist give 0.
void pack_scales(const float* first, int64_t stride, int64_t rows, bool half, std::byte* to) {
  float values[kPanel] = {};
  for (int64_t r = 0; r < rows; ++r) values[r] = first[r * stride];
  if (half) {
    HWY_DYNAMIC_DISPATCH(ToF16)(values, to);
  } else {
    std::memcpy(to, values, sizeof values);
  }
}

float scale_at(const PackedMatrix& matrix, const std::byte* scales, int64_t lane) {
  if (!matrix.half_scales) {
    float value;
    std::memcpy(&value, scales + 4 * lane, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, scales + 2 * lane, 2);
  return f16_to_f32(bits);
}

void unpack_grouped_row(const PackedMatrix& m, const std::byte* panel, int64_t lane, float scale,
                        float* out) {
  for (int64_t g = 0; g < m.columns / m.group; ++g, panel += m.group_bytes()) {
    const float unit = scale_at(m, panel, lane);
    const std::byte* minimums = panel + kPanel * m.scale_bytes();
    const float minimum = m.symmetric ? 0.0f : scale_at(m, minimums, lane);
    const std::byte* codes = panel + m.group_bytes() - m.code_bytes_of_group() + 4 * lane;
    for (int c = 0; c < m.group; ++c) {
      int code;
      if (m.bits == 8) {
        code = static_cast<int>(codes[c / 4 * 4 * kPanel + c % 4]);
      } else {
        const int pair = static_cast<int>(codes[c / 8 * 4 * kPanel + c % 8 / 2]);
        code = c % 2 == 0 ? pair & 15 : pair >> 4;
      }
      *out++ = scale * (unit * static_cast<float>(code - m.offset()) + minimum);
    }
  }
}

}  // namespace

bool all_fit_f16(std::span<const float> values) {
  return HWY_DYNAMIC_DISPATCH(AllFitF16)(values.data(), values.size());
}

void pack_grouped(const GroupedSource& from, const PackedMatrix& to, int64_t begin, int64_t end) {
  const int64_t groups = to.columns / to.group;
  const int64_t row_bytes = to.columns * to.bits / 8;
  const int64_t words = int64_t{to.group} * to.bits / 32;  // of a row in a group
  const uint32_t flip = to.bits == 8 && to.symmetric ? 0x80808080u : 0;
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * kPanel;
    const int64_t rows = std::min(kPanel, to.rows - first);
    std::byte* at = to.data + p * to.panel_bytes();
    for (int64_t g = 0; g < groups; ++g) {
      pack_scales(from.scales + first * groups + g, groups, rows, to.half_scales, at);
      at += kPanel * to.scale_bytes();
      if (!to.symmetric) {
        pack_scales(from.minimums + first * groups + g, groups, rows, to.half_scales, at);
        at += kPanel * to.scale_bytes();
      }
      if (rows < kPanel) std::memset(at, 0, to.code_bytes_of_group());
      const uint8_t* codes = from.codes + first * row_bytes + g * words * 4;
      for (int64_t w = 0; w < words; ++w) {
        for (int64_t r = 0; r < rows; ++r) {
          uint32_t word;
          std::memcpy(&word, codes + r * row_bytes + w * 4, 4);
          word ^= flip;
          std::memcpy(at + (w * kPanel + r) * 4, &word, 4);
        }
      }
      at += to.code_bytes_of_group();
    }
  }
}

template <class Element>
static void interleave(const std::byte* from, const PackedMatrix& to, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 64;  // columns at a time, so that the rows' cache lines are used whole
  const auto* source = reinterpret_cast<const Element*>(from);
  for (int64_t p = begin; p < end; ++p) {
    const int64_t first = p * kPanel;
    const int64_t rows = std::min(kPanel, to.rows - first);
    auto* panel = reinterpret_cast<Element*>(to.data + p * to.panel_bytes());
    if (rows < kPanel) std::memset(panel, 0, to.panel_bytes());
    for (int64_t c0 = 0; c0 < to.columns; c0 += kTile) {
      const int64_t c1 = std::min(c0 + kTile, to.columns);
      for (int64_t r = 0; r < rows; ++r) {
        const Element* row = source + (first + r) * to.columns;
        for (int64_t c = c0; c < c1; ++c) panel[c * kPanel + r] = row[c];
      }
    }
  }
}

void pack_dense(const std::byte* from, const PackedMatrix& to, int64_t begin, int64_t end) {
  if (to.packing == Packing::f32) {
    interleave<uint32_t>(from, to, begin, end);
  } else {
    interleave<uint16_t>(from, to, begin, end);
  }
}

void unpack_row(const PackedMatrix& matrix, int64_t row, float scale, float* out) {
  const std::byte* panel = matrix.data + row / kPanel * matrix.panel_bytes();
  const int64_t lane = row % kPanel;
  if (matrix.packing == Packing::grouped) {
    unpack_grouped_row(matrix, panel, lane, scale, out);
    return;
  }
  for (int64_t c = 0; c < matrix.columns; ++c) {
    const int64_t at = c * kPanel + lane;
    float value;
    if (matrix.packing == Packing::f32) {
      value = reinterpret_cast<const float*>(panel)[at];
    } else {
      const uint16_t bits = reinterpret_cast<const uint16_t*>(panel)[at];
      value = matrix.packing == Packing::f16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
    out[c] = scale * value;
  }
}

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
