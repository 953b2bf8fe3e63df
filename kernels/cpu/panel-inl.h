// What the kernels over panels share. Included once per target.
#if defined(DINFER_KERNELS_CPU_PANEL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DINFER_KERNELS_CPU_PANEL_INL_H_
#undef DINFER_KERNELS_CPU_PANEL_INL_H_
#else
#define DINFER_KERNELS_CPU_PANEL_INL_H_
#endif

#include <cstring>

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "kernels/cpu/matmul.h"
#include "kernels/cpu/target-inl.h"

DINFER_BEFORE_KERNELS
namespace dinfer::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kPanel>;
using DI = hn::RebindToSigned<DF>;
using DU = hn::RebindToUnsigned<DF>;
using DH = hn::Rebind<hwy::float16_t, DF>;
using DB = hn::Rebind<hwy::bfloat16_t, DF>;
using VF = hn::Vec<DF>;
using VI = hn::Vec<DI>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
constexpr int kVectors = static_cast<int>(kPanel) / kLanes;  // that hold one value of each row

// Whether products ask memory for weights ahead of what they read. With 16 threads on a virtual
// Xeon one row's products read 1.2 to 1.4 times as fast so; on Zen 4, whose own prefetch keeps up,
// they are up to a fifth slower.
HWY_INLINE bool ReadsAhead() {
#if HWY_ARCH_X86
  return __builtin_cpu_is("intel");
#else
  return false;
#endif
}

constexpr int64_t kAhead = 4096;  // bytes that they then ask for before they read them

// Asks for `bytes` that lie `distance` after `from`, which may be past the end.
HWY_INLINE void ReadAhead(const std::byte* from, int64_t distance, int64_t bytes) {
  constexpr int64_t kLine = 64;
  for (int64_t line = 0; line < bytes; line += kLine) hwy::Prefetch(from + distance + line);
}

// Rows of activations that one pass over a panel serves: as many as the registers hold.
constexpr int kTile = kVectors == 1 ? 8 : kVectors == 2 ? 2 : 1;

HWY_INLINE VF LoadF32(const std::byte* from, int lane, float) {
  return hn::LoadU(DF(), reinterpret_cast<const float*>(from) + lane);
}
HWY_INLINE VF LoadF32(const std::byte* from, int lane, hwy::float16_t) {
  return hn::PromoteTo(DF(), hn::LoadU(DH(), reinterpret_cast<const hwy::float16_t*>(from) + lane));
}
HWY_INLINE VF LoadF32(const std::byte* from, int lane, hwy::bfloat16_t) {
  return hn::PromoteTo(DF(),
                       hn::LoadU(DB(), reinterpret_cast<const hwy::bfloat16_t*>(from) + lane));
}

// The 16 scales or minimums at `from`.
HWY_INLINE VF LoadScales(const PackedMatrix& weight, const std::byte* from, int v) {
  return weight.half_scales ? LoadF32(from, v * kLanes, hwy::float16_t())
                            : LoadF32(from, v * kLanes, float());
}

// Stores the products of kRows rows with one panel, of which the first `lanes` rows exist.
template <int kRows>
HWY_INLINE void StorePanel(const VF (&sums)[kRows][kVectors], const Products& out, int64_t row,
                           int64_t panel, int64_t lanes) {
  const DF d;
  const float* bias = out.bias ? out.bias + panel * kPanel : nullptr;
  for (int t = 0; t < kRows; ++t) {
    float* to = out.data + (row + t) * out.stride + panel * kPanel;
    if (lanes == kPanel) {
      for (int v = 0; v < kVectors; ++v) {
        const VF sum = bias ? hn::Add(sums[t][v], hn::LoadU(d, bias + v * kLanes)) : sums[t][v];
        hn::StoreU(sum, d, to + v * kLanes);
      }
      continue;
    }
    alignas(64) float all[kPanel];
    for (int v = 0; v < kVectors; ++v) hn::Store(sums[t][v], d, all + v * kLanes);
    for (int64_t i = 0; i < lanes; ++i) to[i] = all[i] + (bias ? bias[i] : 0.0f);
  }
}

// Calls tile.template Run<kRows>(panel, row) for all rows and panels. Rows are taken in blocks that
// stay in the second-level cache while all panels pass over them.
template <class Tile>
HWY_INLINE void ForEachTile(const Tile& tile, int64_t rows, int64_t row_bytes, int64_t begin,
                            int64_t end) {
  constexpr int64_t kCacheBytes = 256 << 10;
  const int64_t block = std::max<int64_t>(kCacheBytes / row_bytes / kTile, 1) * kTile;
  for (int64_t first = 0; first < rows; first += block) {
    const int64_t last = std::min(rows, first + block);
    for (int64_t panel = begin; panel < end; ++panel) {
      int64_t r = first;
      for (; r + kTile <= last; r += kTile) tile.template Run<kTile>(panel, r);
      if constexpr (kTile > 4) {
        if (r + 4 <= last) tile.template Run<4>(panel, r), r += 4;
      }
      if constexpr (kTile > 2) {
        if (r + 2 <= last) tile.template Run<2>(panel, r), r += 2;
      }
      for (; r < last; ++r) tile.template Run<1>(panel, r);
    }
  }
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
DINFER_AFTER_KERNELS
#endif
