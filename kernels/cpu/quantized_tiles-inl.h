// Products of many rows with grouped panels by AMX tiles. Included once per target.
#if defined(DINFER_KERNELS_CPU_QUANTIZED_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DINFER_KERNELS_CPU_QUANTIZED_TILES_INL_H_
#undef DINFER_KERNELS_CPU_QUANTIZED_TILES_INL_H_
#else
#define DINFER_KERNELS_CPU_QUANTIZED_TILES_INL_H_
#endif

#include "kernels/cpu/amx_tile.h"
// After amx_tile.h:
#include "kernels/cpu/panel-inl.h"

#if DINFER_TILES
DINFER_BEFORE_KERNELS
namespace dinfer::cpu::HWY_NAMESPACE {

// Panels are unpacked into bytes, so many at a time and so many of their columns. They stay in the
// second-level cache while they meet so many rows, and 16 rows of as many columns in the first
// while they meet these panels.
constexpr int64_t kTilePanels = 8;
constexpr int64_t kTileColumns = 512;
constexpr int64_t kTileBlockRows = 512;

// A block of a panel: codes as the rows of a tile, less their offset.
template <int kBlock>
struct alignas(64) UnpackedBlock {
  uint8_t codes[kBlock / 4][kPanel][4];  // signed where symmetric
  float scales[kPanel];
  float minimums[kPanel];  // 0 where symmetric
};

template <int kBlock>
HWY_INLINE void UnpackCodes(const PackedMatrix& weight, const std::byte* from, uint8_t* to) {
  const hn::Repartition<uint8_t, DF> d;
  constexpr int kStep = kPanel * 4;
  const auto* bytes = reinterpret_cast<const uint8_t*>(from);
  const auto offset = hn::Set(d, static_cast<uint8_t>(weight.offset()));
  if (weight.bits == 8) {
    for (int i = 0; i < kBlock * kPanel; i += kStep) {
      hn::Store(hn::Sub(hn::LoadU(d, bytes + i), offset), d, to + i);
    }
    return;
  }
  const auto nibble = hn::Set(d, uint8_t{15});
  for (int i = 0; i < kBlock * kPanel / 2; i += kStep) {
    const auto pairs = hn::LoadU(d, bytes + i);
    const auto odd = hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(DU(), pairs)));
    hn::Store(hn::Sub(hn::And(pairs, nibble), offset), d, to + 2 * i);
    hn::Store(hn::Sub(hn::And(odd, nibble), offset), d, to + 2 * i + kStep);
  }
}

template <int kBlock>
void Unpack(const PackedMatrix& weight, const std::byte* from, int64_t groups,
            UnpackedBlock<kBlock>* to) {
  const int64_t scale_bytes = kPanel * weight.scale_bytes();
  const int64_t block_bytes = kPanel * kBlock * weight.bits / 8;
  for (int64_t g = 0; g < groups; ++g) {
    const VF scale = LoadScales(weight, from, 0);
    const VF minimum =
        weight.symmetric ? hn::Zero(DF()) : LoadScales(weight, from + scale_bytes, 0);
    from += weight.symmetric ? scale_bytes : 2 * scale_bytes;
    for (int b = 0; b < weight.group / kBlock; ++b, ++to, from += block_bytes) {
      hn::Store(scale, DF(), to->scales);
      hn::Store(minimum, DF(), to->minimums);
      UnpackCodes<kBlock>(weight, from, to->codes[0][0]);
    }
  }
}

// Asks for `lines` cache lines a block, in the second level, while other work goes on.
struct LinesAhead {
  const std::byte* next;
  int64_t lines;

  HWY_INLINE void Ask() {
    constexpr int kLine = 64, kSecondLevel = 2;
    for (int64_t i = 0; i < lines; ++i, next += kLine) __builtin_prefetch(next, 0, kSecondLevel);
  }
};

// Up to kRows rows times one panel. Sums of blocks are whole numbers, so they are those of
// QuantizedTile, and so is what is done with them: the products have the same bits.
template <int kRows, bool kSymmetric, int kBlock>
class QuantizedTileProducts {
 public:
  // From the first of the blocks that are unpacked in `panel`, of `row` and those after it.
  QuantizedTileProducts(const UnpackedBlock<kBlock>* panel, const QuantizedRows& x, int64_t row,
                        int64_t block)
      : panel_(panel),
        codes_(x.codes + x.at(row, block) * 2 * kBlock),
        scales_(x.scales + x.at(row, block)),
        offsets_(x.offsets + x.at(row, block)) {}

  static TileShapes Shapes() {
    TileShapes shapes;
    for (const int sums : {0, 1, 2, 3}) shapes.set(sums, kRows, kTileRowBytes);
    for (const int rows : {4, 5}) shapes.set(rows, kRows, kBlock);
    shapes.set(6, kBlock / 4, kTileRowBytes);
    return shapes;
  }

  // Tiles are busy with a block while vectors finish the one before it.
  HWY_INLINE void Run(int64_t blocks, LinesAhead ahead, VF (&total)[kRows]) const {
    Sums even, odd;
    Multiply<0>(0);
    Keep<0>(even);
    int64_t b = 0;
    for (; b + 2 < blocks; b += 2) {
      Multiply<1>(b + 1);
      ahead.Ask();
      Finish(b, even, total);
      Keep<1>(odd);
      Multiply<0>(b + 2);
      ahead.Ask();
      Finish(b + 1, odd, total);
      Keep<0>(even);
    }
    if (b + 1 < blocks) {
      Multiply<1>(b + 1);
      Finish(b, even, total);
      Keep<1>(odd);
      Finish(b + 1, odd, total);
    } else {
      Finish(b, even, total);
    }
  }

 private:
  struct Sums {
    alignas(64) int32_t high[kRows][kPanel];
    alignas(64) int32_t low[kRows][kPanel];
  };

  template <int kTurn>
  HWY_INLINE void Multiply(int64_t b) const {
    constexpr int kHigh = 2 * kTurn, kLow = kHigh + 1;
    const int8_t* codes = codes_ + b * kTileRows * 2 * kBlock;
    load_tile<6>(panel_[b].codes, kTileRowBytes);
    load_tile<4>(codes, 2 * kBlock);
    clear_tile<kHigh>();
    Dot<kHigh, 4>();
    load_tile<5>(codes + kBlock, 2 * kBlock);
    clear_tile<kLow>();
    Dot<kLow, 5>();
  }

  template <int kSums, int kCodes>
  static HWY_INLINE void Dot() {
    if constexpr (kSymmetric) {
      add_signed_products<kSums, kCodes, 6>();
    } else {
      add_signed_unsigned_products<kSums, kCodes, 6>();
    }
  }

  template <int kTurn>
  static HWY_INLINE void Keep(Sums& sums) {
    store_tile<2 * kTurn>(sums.high, kTileRowBytes);
    store_tile<2 * kTurn + 1>(sums.low, kTileRowBytes);
  }

  HWY_INLINE void Finish(int64_t b, const Sums& sums, VF (&total)[kRows]) const {
    const DF d;
    const float* x_scales = scales_ + b * kTileRows;
    const float* x_offsets = offsets_ + b * kTileRows;
    const VF scale = hn::Load(d, panel_[b].scales);
    const VF minimum = hn::Load(d, panel_[b].minimums);
#pragma GCC unroll 16
    for (int t = 0; t < kRows; ++t) {
      const VI high = hn::Load(DI(), sums.high[t]);
      const VI dots =
          hn::Add(hn::Load(DI(), sums.low[t]), hn::ShiftLeft<QuantizedRows::kHighBits>(high));
      const VF unit = hn::Mul(scale, hn::Set(d, x_scales[t]));
      total[t] = hn::MulAdd(hn::ConvertTo(d, dots), unit, total[t]);
      if constexpr (!kSymmetric) {
        total[t] = hn::MulAdd(minimum, hn::Set(d, x_offsets[t]), total[t]);
      }
    }
  }

  const UnpackedBlock<kBlock>* panel_;
  const int8_t* codes_;
  const float* scales_;
  const float* offsets_;
};

// Rows [first, last), at most kTileBlockRows, with panels [begin, end), at most kTilePanels.
template <bool kSymmetric, int kBlock>
class QuantizedTilePanels {
 public:
  QuantizedTilePanels(const PackedMatrix& weight, const QuantizedRows& x, const Products& out)
      : weight_(weight), x_(x), out_(out) {}

  void Run(int64_t first, int64_t last, int64_t begin, int64_t end) {
    first_ = first, last_ = last, begin_ = begin, end_ = end;
    for (int64_t column = 0; column < weight_.columns; column += kTileColumns) {
      const int64_t columns = std::min(kTileColumns, weight_.columns - column);
      for (int64_t p = begin; p < end; ++p) {
        Unpack<kBlock>(weight_, At(p, column), columns / weight_.group, unpacked_[p - begin]);
      }
      int64_t row = first;
      for (; last - row > kTileRows / 2; row += kTileRows) {
        MultiplyRows<kTileRows>(row, column, columns);
      }
      if (row < last) MultiplyRows<kTileRows / 2>(row, column, columns);
    }
    release_tiles();
  }

 private:
  const std::byte* At(int64_t panel, int64_t column) const {
    return weight_.data + panel * weight_.panel_bytes() +
           column / weight_.group * weight_.group_bytes();
  }

  // Rows [row, row + kRows), of which all or some exist, with columns [column, column + columns) of
  // the panels.
  template <int kRows>
  void MultiplyRows(int64_t row, int64_t column, int64_t columns) {
    using Tile = QuantizedTileProducts<kRows, kSymmetric, kBlock>;
    shape_tiles(Tile::Shapes());
    const bool all = column + columns == weight_.columns;
    for (int64_t p = begin_; p < end_; ++p) {
      Sums& sums = sums_[(row - first_) / kTileRows][p - begin_];
      VF total[kRows];
#pragma GCC unroll 16
      for (int t = 0; t < kRows; ++t) {
        total[t] = column > 0 ? hn::Load(DF(), sums[t]) : hn::Zero(DF());
      }
      Tile(unpacked_[p - begin_], x_, row, column / kBlock)
          .Run(columns / kBlock, Ahead(p, column, columns, row), total);
      if (all) {
        Store(total, row, p);
        continue;
      }
#pragma GCC unroll 16
      for (int t = 0; t < kRows; ++t) hn::Store(total[t], DF(), sums[t]);
    }
  }

  template <int kRows>
  HWY_INLINE void Store(const VF (&total)[kRows], int64_t row, int64_t panel) const {
    const DF d;
    const auto lanes = hn::FirstN(d, std::min(kPanel, weight_.rows - panel * kPanel));
    const float* bias = out_.bias ? out_.bias + panel * kPanel : nullptr;
    float* to = out_.data + row * out_.stride + panel * kPanel;
#pragma GCC unroll 16
    for (int t = 0; t < kRows; ++t) {
      if (row + t >= last_) continue;
      const VF sum = bias ? hn::Add(total[t], hn::MaskedLoad(lanes, d, bias)) : total[t];
      hn::BlendedStore(sum, lanes, d, to + t * out_.stride);
    }
  }

  // This tile's share of the bytes that its panel is read by next, or the panel that will follow.
  LinesAhead Ahead(int64_t panel, int64_t column, int64_t columns, int64_t row) const {
    constexpr int64_t kLine = 64;
    const bool all = column + columns == weight_.columns;
    const std::byte* next = all ? At(panel + end_ - begin_, 0) : At(panel, column + columns);
    const int64_t tiles = (last_ - first_ + kTileRows - 1) / kTileRows;
    const int64_t lines = columns / weight_.group * weight_.group_bytes() / kLine;
    const int64_t share = (lines + tiles - 1) / tiles;
    const int64_t blocks = columns / kBlock;
    return {next + (row - first_) / kTileRows * share * kLine, (share + blocks - 1) / blocks};
  }

  using Sums = float[kTileRows][kPanel];

  const PackedMatrix& weight_;
  const QuantizedRows& x_;
  const Products& out_;
  int64_t first_, last_, begin_, end_;
  UnpackedBlock<kBlock> unpacked_[kTilePanels][kTileColumns / kBlock];
  alignas(64) Sums sums_[kTileBlockRows / kTileRows][kTilePanels];  // of the columns so far
};

template <bool kSymmetric, int kBlock>
void MultiplyInTiles(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin, int64_t end,
                     const Products& out) {
  QuantizedTilePanels<kSymmetric, kBlock> panels(weight, x, out);
  for (int64_t p = begin; p < end; p += kTilePanels) {
    for (int64_t row = 0; row < x.count; row += kTileBlockRows) {
      panels.Run(row, std::min(row + kTileBlockRows, x.count), p, std::min(p + kTilePanels, end));
    }
  }
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
DINFER_AFTER_KERNELS
#endif  // DINFER_TILES
#endif
