#include "kernels/cpu/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_f32.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h:
#include "kernels/cpu/panel-inl.h"

DINFER_BEFORE_KERNELS
namespace dinfer::cpu::HWY_NAMESPACE {

// Columns summed on their own before they are added to the total: short chains of dependent
// additions, and less rounding.
constexpr int kChain = 16;

template <int kRows>
HWY_INLINE void MultiplyColumn(const VF (&weight)[kVectors], const float* x, int64_t stride,
                               VF (&sums)[kRows][kVectors]) {
#pragma GCC unroll 8
  for (int t = 0; t < kRows; ++t) {
    const VF value = hn::Set(DF(), x[t * stride]);
    for (int v = 0; v < kVectors; ++v) sums[t][v] = hn::MulAdd(weight[v], value, sums[t][v]);
  }
}

template <int kRows>
HWY_INLINE void Clear(VF (&sums)[kRows][kVectors]) {
  for (int t = 0; t < kRows; ++t) {
    for (int v = 0; v < kVectors; ++v) sums[t][v] = hn::Zero(DF());
  }
}

template <int kRows>
HWY_INLINE void AddTo(VF (&total)[kRows][kVectors], const VF (&sums)[kRows][kVectors]) {
  for (int t = 0; t < kRows; ++t) {
    for (int v = 0; v < kVectors; ++v) total[t][v] = hn::Add(total[t][v], sums[t][v]);
  }
}

template <class Element>
struct DenseTile {
  const PackedMatrix& weight;
  const float* x;
  int64_t stride;
  const Products& out;
  bool ahead = ReadsAhead();

  template <int kRows>
  HWY_INLINE void Run(int64_t panel, int64_t row) const {
    constexpr int kColumnBytes = kPanel * sizeof(Element);
    const std::byte* from = weight.data + panel * weight.panel_bytes();
    const float* in = x + row * stride;
    VF total[kRows][kVectors];
    Clear(total);
    for (int64_t c = 0; c < weight.columns; c += kChain) {
      const int64_t end = std::min<int64_t>(weight.columns, c + kChain);
      VF sums[kRows][kVectors];
      Clear(sums);
      if (ahead) ReadAhead(from, kAhead, kChain * kColumnBytes);
      for (int64_t i = c; i < end; ++i, from += kColumnBytes) {
        VF w[kVectors];
        for (int v = 0; v < kVectors; ++v) w[v] = LoadF32(from, v * kLanes, Element());
        MultiplyColumn<kRows>(w, in + i, stride, sums);
      }
      AddTo(total, sums);
    }
    StorePanel<kRows>(total, out, row, panel, std::min(kPanel, weight.rows - panel * kPanel));
  }
};

// Codes are widened in registers to the f32 values that they stand for.
template <int kBits, class Scale>
struct GroupedTile {
  const PackedMatrix& weight;
  const float* x;
  int64_t stride;
  const Products& out;
  bool ahead = ReadsAhead();

  template <int kRows>
  HWY_INLINE void Run(int64_t panel, int64_t row) const {
    constexpr int kScaleBytes = kPanel * sizeof(Scale);
    const DF d;
    const std::byte* from = weight.data + panel * weight.panel_bytes();
    const float* in = x + row * stride;
    const VF offset = hn::Set(d, static_cast<float>(weight.offset()));
    VF total[kRows][kVectors];
    Clear(total);
    for (int64_t g = 0; g < weight.columns; g += weight.group) {
      VF scale[kVectors], minimum[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        scale[v] = LoadF32(from, v * kLanes, Scale());
        minimum[v] = weight.symmetric ? hn::Neg(hn::Mul(scale[v], offset))
                                      : LoadF32(from + kScaleBytes, v * kLanes, Scale());
      }
      from += weight.symmetric ? kScaleBytes : 2 * kScaleBytes;
      VF sums[kRows][kVectors];
      Clear(sums);
      if (ahead) ReadAhead(from, kAhead, weight.code_bytes_of_group());
      for (int64_t c = g; c < g + weight.group; c += 32 / kBits, from += kPanel * 4) {
        Word<kRows>(from, scale, minimum, in + c, sums);
      }
      AddTo(total, sums);
    }
    StorePanel<kRows>(total, out, row, panel, std::min(kPanel, weight.rows - panel * kPanel));
  }

  // One 4-byte word of codes of each row of the panel.
  template <int kRows>
  HWY_INLINE void Word(const std::byte* from, const VF (&scale)[kVectors],
                       const VF (&minimum)[kVectors], const float* in,
                       VF (&sums)[kRows][kVectors]) const {
    const DU du;
    const auto mask = hn::Set(du, (1u << kBits) - 1);
    hn::Vec<DU> words[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      words[v] = hn::LoadU(du, reinterpret_cast<const uint32_t*>(from) + v * kLanes);
    }
    for (int i = 0; i < 32 / kBits; ++i) {
      VF w[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        const VF code = hn::ConvertTo(DF(), hn::BitCast(DI(), hn::And(words[v], mask)));
        w[v] = hn::MulAdd(code, scale[v], minimum[v]);
        words[v] = hn::ShiftRight<kBits>(words[v]);
      }
      MultiplyColumn<kRows>(w, in + i, stride, sums);
    }
  }
};

template <class Tile>
void MultiplyTiles(const PackedMatrix& weight, const float* x, int64_t count, int64_t stride,
                   int64_t begin, int64_t end, const Products& out) {
  ForEachTile(Tile{weight, x, stride, out}, count, weight.columns * 4, begin, end);
}

void MultiplyF32(const PackedMatrix& weight, const float* x, int64_t count, int64_t stride,
                 int64_t begin, int64_t end, const Products& out) {
  const auto run = [&] {
    switch (weight.packing) {
      case Packing::f32:
        return MultiplyTiles<DenseTile<float>>;
      case Packing::f16:
        return MultiplyTiles<DenseTile<hwy::float16_t>>;
      case Packing::bf16:
        return MultiplyTiles<DenseTile<hwy::bfloat16_t>>;
      case Packing::grouped:
        break;
    }
    if (weight.bits == 4) {
      return weight.half_scales ? MultiplyTiles<GroupedTile<4, hwy::float16_t>>
                                : MultiplyTiles<GroupedTile<4, float>>;
    }
    return weight.half_scales ? MultiplyTiles<GroupedTile<8, hwy::float16_t>>
                              : MultiplyTiles<GroupedTile<8, float>>;
  }();
  run(weight, x, count, stride, begin, end, out);
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
DINFER_AFTER_KERNELS

#if HWY_ONCE
namespace dinfer::cpu {

HWY_EXPORT(MultiplyF32);

void multiply_f32(const PackedMatrix& weight, const float* x, int64_t count, int64_t stride,
                  int64_t begin, int64_t end, const Products& out) {
  HWY_DYNAMIC_DISPATCH(MultiplyF32)(weight, x, count, stride, begin, end, out);
}

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
