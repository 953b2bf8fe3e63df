// Products of bf16 and f16 weights with rows of two bf16 numbers a value, by AMX tiles.

#include "base/error.h"
#include "kernels/cpu/amx_tile.h"
#include "kernels/cpu/matmul.h"

#if DINFER_AMX

#include <hwy/base.h>

// GCC 12 warns of the undefined vectors in its own header: gcc.gnu.org/PR105593
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <algorithm>

HWY_PUSH_ATTRIBUTES("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,amx-tile,amx-int8,amx-bf16")
namespace dinfer::cpu {
namespace {

constexpr int kStep = SplitRows::kBlock;  // columns of a tile
static_assert(kStep * 2 == kTileRowBytes && kPanel * 4 == kTileRowBytes);

// Panels are unpacked so many at a time and so many of their columns. They stay in the second-level
// cache while they meet so many rows; two of them and two tiles of rows in the first.
constexpr int64_t kTilePanels = 8;
constexpr int64_t kTileColumns = 512;
constexpr int64_t kTileBlockRows = 512;
constexpr int64_t kFewRows = 2 * kTileRows;  // meet each panel once, as it is read

// kStep columns of a panel as tiles: bf16 weights as they are, f16 weights as sums of two.
template <Packing kPacking>
struct alignas(64) UnpackedStep {
  static constexpr int kParts = kPacking == Packing::f16 ? 2 : 1;
  uint16_t parts[kParts][kStep / 2][kPanel][2];
};

using Sums = float[kTileRows][kPanel];

// Columns 2i and 2i + 1 of a panel, side by side.
inline void unpack_pair(const uint16_t* from, int i, UnpackedStep<Packing::bf16>& to) {
  alignas(64) static constexpr uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                      21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                      11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const __m512i pair =
      _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), _mm512_loadu_si512(from));
  _mm512_store_si512(to.parts[0][i], pair);
}

// The first part is cut to bf16's 8 bits, so that the 3 that are left of f16's 11 are one, too.
inline void unpack_pair(const uint16_t* from, int i, UnpackedStep<Packing::f16>& to) {
  const __m512i upper_half = _mm512_set1_epi32(static_cast<int>(0xffff0000u));
  __m512i high[2], low[2];
  for (int k = 0; k < 2; ++k) {
    const auto* column = reinterpret_cast<const __m256i*>(from + k * kPanel);
    const __m512 value = _mm512_cvtph_ps(_mm256_loadu_si256(column));
    high[k] = _mm512_and_si512(_mm512_castps_si512(value), upper_half);
    low[k] = _mm512_castps_si512(_mm512_sub_ps(value, _mm512_castsi512_ps(high[k])));
  }
  _mm512_store_si512(to.parts[0][i], _mm512_or_si512(_mm512_srli_epi32(high[0], 16), high[1]));
  _mm512_store_si512(to.parts[1][i], _mm512_or_si512(_mm512_srli_epi32(low[0], 16), low[1]));
}

// `columns` columns of a panel; what is missing from the last step is zero.
template <Packing kPacking>
void unpack(const uint16_t* from, int64_t columns, UnpackedStep<kPacking>* to) {
  constexpr int64_t kAhead = 4096 / sizeof(uint16_t);
  for (; columns >= kStep; columns -= kStep, ++to) {
    for (int i = 0; i < kStep / 2; ++i, from += 2 * kPanel) {
      __builtin_prefetch(from + kAhead);
      unpack_pair(from, i, *to);
    }
  }
  if (columns == 0) return;
  alignas(64) uint16_t rest[kStep * kPanel] = {};
  std::copy_n(from, columns * kPanel, rest);
  for (int i = 0; i < kStep / 2; ++i) unpack_pair(rest + i * 2 * kPanel, i, *to);
}

// Tiles 0 to 3 are sums, two rows of two; 4 and 5 rows of activations, 6 and 7 panels.
TileShapes shapes_of(int64_t rows) {
  const int64_t first = std::min<int64_t>(rows, kTileRows);
  TileShapes shapes;
  for (const int tile : {0, 1, 4}) shapes.set(tile, first, kTileRowBytes);
  for (const int tile : {6, 7}) shapes.set(tile, kTileRows, kTileRowBytes);
  if (rows == first) return shapes;
  for (const int tile : {2, 3, 5}) shapes.set(tile, rows - first, kTileRowBytes);
  return shapes;
}

// What a tile of sums holds; where it is kept.
template <int kTile>
HWY_INLINE void begin_sums(const Sums& sums, bool first) {
  if (first) {
    clear_tile<kTile>();
  } else {
    load_tile<kTile>(sums, kTileRowBytes);
  }
}

template <int kTiles, int kPanels>
HWY_INLINE void begin_all_sums(Sums* const (&sums)[2], bool first) {
  begin_sums<0>(sums[0][0], first);
  if constexpr (kPanels == 2) begin_sums<1>(sums[0][1], first);
  if constexpr (kTiles == 2) begin_sums<2>(sums[1][0], first);
  if constexpr (kTiles == 2 && kPanels == 2) begin_sums<3>(sums[1][1], first);
}

template <int kTiles, int kPanels>
HWY_INLINE void keep_all_sums(Sums* const (&sums)[2]) {
  store_tile<0>(sums[0][0], kTileRowBytes);
  if constexpr (kPanels == 2) store_tile<1>(sums[0][1], kTileRowBytes);
  if constexpr (kTiles == 2) store_tile<2>(sums[1][0], kTileRowBytes);
  if constexpr (kTiles == 2 && kPanels == 2) store_tile<3>(sums[1][1], kTileRowBytes);
}

// One part of kTiles tiles of rows times what tiles 6 and 7 hold.
template <int kTiles, int kPanels>
HWY_INLINE void add_products(const uint16_t* first, const uint16_t* second) {
  load_tile<4>(first, kTileRowBytes);
  add_bf16_products<0, 4, 6>();
  if constexpr (kPanels == 2) add_bf16_products<1, 4, 7>();
  if constexpr (kTiles == 2) {
    load_tile<5>(second, kTileRowBytes);
    add_bf16_products<2, 5, 6>();
    if constexpr (kPanels == 2) add_bf16_products<3, 5, 7>();
  }
}

// kTiles tiles of rows, `part` numbers for each part of a step, times a step of kPanels panels.
template <int kTiles, int kPanels, Packing kPacking>
HWY_INLINE void add_step(const uint16_t* first, const uint16_t* second, int64_t part,
                         const UnpackedStep<kPacking>& left, const UnpackedStep<kPacking>& right) {
  load_tile<6>(left.parts[0], kTileRowBytes);
  if constexpr (kPanels == 2) load_tile<7>(right.parts[0], kTileRowBytes);
  add_products<kTiles, kPanels>(first, second);
  add_products<kTiles, kPanels>(first + part, second + part);
  if constexpr (UnpackedStep<kPacking>::kParts == 2) {
    load_tile<6>(left.parts[1], kTileRowBytes);
    if constexpr (kPanels == 2) load_tile<7>(right.parts[1], kTileRowBytes);
    add_products<kTiles, kPanels>(first, second);
  }
}

// kTiles tiles of rows times kPanels panels, added to what sums[tile][panel] holds, or to zero.
template <int kTiles, int kPanels, Packing kPacking>
void multiply_steps(const uint16_t* const (&rows)[2], int64_t part,
                    const UnpackedStep<kPacking>* const (&panels)[2], int64_t steps, bool first,
                    Sums* const (&sums)[2]) {
  begin_all_sums<kTiles, kPanels>(sums, first);
  for (int64_t s = 0; s < steps; ++s) {
    add_step<kTiles, kPanels>(rows[0] + 2 * s * part, rows[1] + 2 * s * part, part, panels[0][s],
                              panels[1][s]);
  }
  keep_all_sums<kTiles, kPanels>(sums);
}

// kTiles tiles of rows times a panel, a step of which is unpacked while the one before it is
// multiplied: weights are read in their order and all the time.
template <int kTiles, Packing kPacking>
void multiply_as_read(const uint16_t* const (&rows)[2], int64_t part, const uint16_t* panel,
                      int64_t columns, Sums* const (&sums)[2]) {
  UnpackedStep<kPacking> unpacked[2];  // by turns
  begin_all_sums<kTiles, 1>(sums, true);
  unpack(panel, std::min<int64_t>(kStep, columns), &unpacked[0]);
  for (int64_t column = kStep, s = 0; column < columns + kStep; column += kStep, ++s) {
    if (column < columns) {
      unpack(panel + column * kPanel, std::min<int64_t>(kStep, columns - column),
             &unpacked[(s + 1) % 2]);
    }
    const UnpackedStep<kPacking>& step = unpacked[s % 2];
    add_step<kTiles, 1>(rows[0] + 2 * s * part, rows[1] + 2 * s * part, part, step, step);
  }
  keep_all_sums<kTiles, 1>(sums);
}

// Rows [first, last), at most kTileBlockRows, with panels [begin, end), at most kTilePanels.
template <Packing kPacking>
class SplitPanels {
 public:
  SplitPanels(const PackedMatrix& weight, const SplitRows& x, const Products& out)
      : weight_(weight), x_(x), out_(out) {}

  void run(int64_t first, int64_t last, int64_t begin, int64_t end) {
    first_ = first, last_ = last, begin_ = begin, end_ = end;
    if (last - first <= kFewRows) {
      multiply_few_rows();
    } else {
      for (int64_t column = 0; column < weight_.columns; column += kTileColumns) {
        const int64_t columns = std::min(kTileColumns, weight_.columns - column);
        for (int64_t p = begin; p < end; ++p) unpack(at(p, column), columns, unpacked_[p - begin]);
        for (int64_t row = first; row < last; row += 2 * kTileRows) {
          multiply_rows(row, column, columns);
        }
      }
    }
    release_tiles();
    for (int64_t row = first; row < last; ++row) store(row);
  }

 private:
  const uint16_t* at(int64_t panel, int64_t column) const {
    return reinterpret_cast<const uint16_t*>(weight_.data + panel * weight_.panel_bytes()) +
           column * kPanel;
  }

  void multiply_few_rows() {
    const int64_t rows = last_ - first_;
    shape_tiles(shapes_of(rows));
    const uint16_t* tiles[2] = {x_.at(first_, 0), x_.at(first_, 0)};
    if (rows > kTileRows) tiles[1] = x_.at(first_ + kTileRows, 0);
    for (int64_t p = begin_; p < end_; ++p) {
      Sums* sums[2] = {&sums_[0][p - begin_], &sums_[1][p - begin_]};
      const auto multiply =
          rows > kTileRows ? multiply_as_read<2, kPacking> : multiply_as_read<1, kPacking>;
      multiply(tiles, x_.tile * kStep, at(p, 0), weight_.columns, sums);
    }
  }

  // Rows [row, row + 2 tiles), or those of them that exist, with what is unpacked.
  void multiply_rows(int64_t row, int64_t column, int64_t columns) {
    const bool two = last_ - row > kTileRows;
    shape_tiles(shapes_of(std::min<int64_t>(last_ - row, 2 * kTileRows)));
    for (int64_t p = begin_; p < end_; p += 2) {
      if (p + 1 < end_) {
        two ? multiply_pair<2, 2>(row, column, columns, p)
            : multiply_pair<1, 2>(row, column, columns, p);
      } else {
        two ? multiply_pair<2, 1>(row, column, columns, p)
            : multiply_pair<1, 1>(row, column, columns, p);
      }
    }
  }

  template <int kTiles, int kPanels>
  void multiply_pair(int64_t row, int64_t column, int64_t columns, int64_t panel) {
    constexpr int kNextTile = kTiles - 1, kNextPanel = kPanels - 1;
    const int64_t tile = (row - first_) / kTileRows, place = panel - begin_;
    const uint16_t* rows[2] = {x_.at(row, column / kStep),
                               x_.at(row + kNextTile * kTileRows, column / kStep)};
    const UnpackedStep<kPacking>* panels[2] = {unpacked_[place], unpacked_[place + kNextPanel]};
    Sums* sums[2] = {&sums_[tile][place], &sums_[tile + kNextTile][place]};
    multiply_steps<kTiles, kPanels>(rows, x_.tile * kStep, panels, (columns + kStep - 1) / kStep,
                                    column == 0, sums);
  }

  // The products of a row with all panels, as far as the panels' rows exist.
  void store(int64_t row) const {
    const Sums* sums = sums_[(row - first_) / kTileRows];
    for (int64_t p = begin_; p < end_; ++p) {
      const int64_t count = std::min(kPanel, weight_.rows - p * kPanel);
      const auto lanes = static_cast<__mmask16>((1u << count) - 1);
      const float* bias = out_.bias ? out_.bias + p * kPanel : nullptr;
      __m512 sum = _mm512_load_ps(sums[p - begin_][(row - first_) % kTileRows]);
      if (bias) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, bias));
      _mm512_mask_storeu_ps(out_.data + row * out_.stride + p * kPanel, lanes, sum);
    }
  }

  const PackedMatrix& weight_;
  const SplitRows& x_;
  const Products& out_;
  int64_t first_, last_, begin_, end_;
  UnpackedStep<kPacking> unpacked_[kTilePanels][kTileColumns / kStep];
  alignas(64) Sums sums_[kTileBlockRows / kTileRows][kTilePanels];  // of the columns so far
};

template <Packing kPacking>
void multiply(const PackedMatrix& weight, const SplitRows& x, int64_t begin, int64_t end,
              const Products& out) {
  SplitPanels<kPacking> panels(weight, x, out);
  for (int64_t p = begin; p < end; p += kTilePanels) {
    for (int64_t row = 0; row < x.count; row += kTileBlockRows) {
      panels.run(row, std::min(row + kTileBlockRows, x.count), p, std::min(p + kTilePanels, end));
    }
  }
}

}  // namespace

void multiply_split(const PackedMatrix& weight, const SplitRows& x, int64_t begin, int64_t end,
                    const Products& out) {
  const auto run =
      weight.packing == Packing::f16 ? multiply<Packing::f16> : multiply<Packing::bf16>;
  run(weight, x, begin, end, out);
}

}  // namespace dinfer::cpu
HWY_POP_ATTRIBUTES

#else

namespace dinfer::cpu {

void multiply_split(const PackedMatrix&, const SplitRows&, int64_t, int64_t, const Products&) {
  check(false, "tiles are multiplied where there are some");
}

}  // namespace dinfer::cpu

#endif  // DINFER_AMX
