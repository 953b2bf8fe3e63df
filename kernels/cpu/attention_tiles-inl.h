// Attention of several tokens by AMX tiles; part of attention.cpp. All numbers are sums of two bf16
// ones, of 16 bits, which hold what f16 holds; of the four products of two such sums the smallest
// is left out.

#if DINFER_TILES
DINFER_BEFORE_KERNELS
namespace dinfer::cpu::HWY_NAMESPACE {

constexpr int64_t kStep = 32;                        // numbers of a row of a tile
constexpr int64_t kTileNumbers = kTileRows * kStep;  // of a tile

constexpr int64_t steps_of(int64_t count) { return (count + kStep - 1) / kStep; }

// The first part of f32 numbers: their upper halves, in place. What they leave, cut to the same.
HWY_INLINE __m512i UpperHalf(__m512 value) {
  return _mm512_and_si512(_mm512_castps_si512(value), _mm512_set1_epi32(-0x10000));
}
HWY_INLINE __m512i UpperHalfOfRest(__m512 value) {
  return UpperHalf(_mm512_sub_ps(value, _mm512_castsi512_ps(UpperHalf(value))));
}

// Numbers of `even` and `odd` by turns.
HWY_INLINE __m512i Pair(__m512i even, __m512i odd) {
  return _mm512_or_si512(_mm512_srli_epi32(even, 16), odd);
}

// Rows [rows][16] as the right side of a product over them: [steps][2][kStep / 2][16][2], zero past
// the last row.
void SplitLanes(const float* from, int64_t rows, int64_t steps, uint16_t* to) {
  for (int64_t i = 0; i < steps * kStep; i += 2) {
    const __m512 even = i < rows ? _mm512_load_ps(from + i * kLaneQueries) : _mm512_setzero_ps();
    const __m512 odd =
        i + 1 < rows ? _mm512_load_ps(from + (i + 1) * kLaneQueries) : _mm512_setzero_ps();
    uint16_t* at = to + i / kStep * 2 * kTileNumbers + i % kStep * kLaneQueries;
    _mm512_store_si512(at, Pair(UpperHalf(even), UpperHalf(odd)));
    _mm512_store_si512(at + kTileNumbers, Pair(UpperHalfOfRest(even), UpperHalfOfRest(odd)));
  }
}

// Keys [count, wide] as the left side of a product over the head:
// [steps][2][kTilePositions][kStep], whole tiles, zero past the last position and the last column.
void SplitKeys(const float* keys, int64_t wide, int64_t count, uint16_t* to) {
  for (int64_t step = 0; step < steps_of(wide); ++step) {
    uint16_t* high = to + step * 2 * kTilePositions * kStep;
    uint16_t* low = high + kTilePositions * kStep;
    const int64_t rows = (count + kTileRows - 1) / kTileRows * kTileRows;
    for (int64_t i = 0; i < rows * kStep; i += kLaneQueries) {
      const int64_t p = i / kStep, column = step * kStep + i % kStep;
      const __m512 value = p < count && column < wide ? _mm512_load_ps(keys + p * wide + column)
                                                      : _mm512_setzero_ps();
      const __m512i upper = _mm512_srli_epi32(UpperHalf(value), 16);
      const __m512i rest = _mm512_srli_epi32(UpperHalfOfRest(value), 16);
      _mm256_store_si256(reinterpret_cast<__m256i*>(high + i), _mm512_cvtepi32_epi16(upper));
      _mm256_store_si256(reinterpret_cast<__m256i*>(low + i), _mm512_cvtepi32_epi16(rest));
    }
  }
}

// Swaps rows and columns of 16 x 16 numbers.
HWY_INLINE void Transpose(__m512i (&rows)[16]) {
  __m512i t[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // Quarter q of rows[4 g + i] is column 4 q + i of rows 4 g to 4 g + 3.
  constexpr int kEven = 0x88, kOdd = 0xdd;
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], kEven);
    t[4 + i] = _mm512_shuffle_i32x4(rows[i], rows[4 + i], kOdd);
    t[8 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], kEven);
    t[12 + i] = _mm512_shuffle_i32x4(rows[8 + i], rows[12 + i], kOdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    rows[i] = _mm512_shuffle_i32x4(t[i], t[8 + i], kEven);
    rows[4 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], kEven);
    rows[8 + i] = _mm512_shuffle_i32x4(t[i], t[8 + i], kOdd);
    rows[12 + i] = _mm512_shuffle_i32x4(t[4 + i], t[12 + i], kOdd);
  }
}

// Values [count, wide] as the left side of a product over positions:
// [steps][2][wide][kStep], zero past the last position.
void SplitValues(const float* values, int64_t wide, int64_t count, uint16_t* to) {
  for (int64_t first = 0; first < count; first += kStep) {
    uint16_t* at = to + first / kStep * 2 * wide * kStep;
    for (int64_t column = 0; column < wide; column += kLaneQueries, at += kTileNumbers) {
      __m512i high[16], low[16];
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        const int64_t p = first + 2 * i;
        const float* from = values + p * wide + column;
        const __m512 even = p < count ? _mm512_load_ps(from) : _mm512_setzero_ps();
        const __m512 odd = p + 1 < count ? _mm512_load_ps(from + wide) : _mm512_setzero_ps();
        high[i] = Pair(UpperHalf(even), UpperHalf(odd));
        low[i] = Pair(UpperHalfOfRest(even), UpperHalfOfRest(odd));
      }
      Transpose(high);
      Transpose(low);
#pragma GCC unroll 16
      for (int i = 0; i < 16; ++i) {
        _mm512_store_si512(at + i * kStep, high[i]);
        _mm512_store_si512(at + wide * kStep + i * kStep, low[i]);
      }
    }
  }
}

template <int kSums>
HWY_INLINE void BeginSums(const float* sums, bool add) {
  if (add) {
    load_tile<kSums>(sums + kSums * kTileRows * kLaneQueries, kTileRowBytes);
  } else {
    clear_tile<kSums>();
  }
}
template <int kSums>
HWY_INLINE void KeepSums(float* sums) {
  store_tile<kSums>(sums + kSums * kTileRows * kLaneQueries, kTileRowBytes);
}

// Tile number kSums of rows, in two parts, times what tiles 4 and 5 hold.
template <int kSums>
HWY_INLINE void AddSplitProducts(const uint16_t* high, const uint16_t* low) {
  load_tile<6>(high + kSums * kTileNumbers, kTileRowBytes);
  load_tile<7>(low + kSums * kTileNumbers, kTileRowBytes);
  add_bf16_products<kSums, 6, 4>();
  add_bf16_products<kSums, 6, 5>();
  add_bf16_products<kSums, 7, 4>();
}

template <int kTiles>
HWY_INLINE void MultiplyTiles(const uint16_t* left, int64_t rows, const uint16_t* right,
                              int64_t steps, bool add, float* sums) {
  BeginSums<0>(sums, add);
  if constexpr (kTiles > 1) BeginSums<1>(sums, add);
  if constexpr (kTiles > 2) BeginSums<2>(sums, add);
  if constexpr (kTiles > 3) BeginSums<3>(sums, add);
  for (int64_t s = 0; s < steps; ++s) {
    const uint16_t* high = left + s * 2 * rows * kStep;
    const uint16_t* low = high + rows * kStep;
    load_tile<4>(right + 2 * s * kTileNumbers, kTileRowBytes);
    load_tile<5>(right + (2 * s + 1) * kTileNumbers, kTileRowBytes);
    AddSplitProducts<0>(high, low);
    if constexpr (kTiles > 1) AddSplitProducts<1>(high, low);
    if constexpr (kTiles > 2) AddSplitProducts<2>(high, low);
    if constexpr (kTiles > 3) AddSplitProducts<3>(high, low);
  }
  KeepSums<0>(sums);
  if constexpr (kTiles > 1) KeepSums<1>(sums);
  if constexpr (kTiles > 2) KeepSums<2>(sums);
  if constexpr (kTiles > 3) KeepSums<3>(sums);
}

// sums[first row .. first row + 16 tiles][16], which are added to or replaced, from
// left [steps][2][rows][kStep] and right [steps][2][kStep / 2][16][2].
void MultiplySplit(const uint16_t* left, int64_t rows, int64_t tiles, const uint16_t* right,
                   int64_t steps, bool add, float* sums) {
  for (; tiles >= 4; tiles -= 4) {
    MultiplyTiles<4>(left, rows, right, steps, add, sums);
    left += 4 * kTileNumbers;
    sums += 4 * kTileRows * kLaneQueries;
  }
  if (tiles == 3) MultiplyTiles<3>(left, rows, right, steps, add, sums);
  if (tiles == 2) MultiplyTiles<2>(left, rows, right, steps, add, sums);
  if (tiles == 1) MultiplyTiles<1>(left, rows, right, steps, add, sums);
}

// Numbers in two parts, in tiles.
class TileArithmetic {
 public:
  TileArithmetic(const SharedTile& tile, std::span<const LaneBlock> blocks, float* scratch)
      : tile_(tile),
        keys_(reinterpret_cast<uint16_t*>(scratch)),
        values_(keys_ + 2 * steps_of(tile.wide) * kStep * kTilePositions),
        weights_(values_ + 2 * tile.wide * kTilePositions),
        queries_(weights_ + 2 * kTilePositions * kLaneQueries) {
    for (size_t i = 0; i < blocks.size(); ++i) {
      SplitLanes(blocks[i].query, tile.wide, steps_of(tile.wide), Query(i));
    }
    TileShapes shapes;
    for (int of_all = 0; of_all < 8; ++of_all) shapes.set(of_all, kTileRows, kTileRowBytes);
    shape_tiles(shapes);
  }
  ~TileArithmetic() { release_tiles(); }

  void Take(int64_t count) const {
    SplitKeys(tile_.keys, tile_.wide, count, keys_);
    SplitValues(tile_.values, tile_.wide, count, values_);
  }

  void Attend(LaneBlock& b, size_t block, int64_t begin, int64_t count) const {
    const DF d;
    const int64_t tiles = (count + kTileRows - 1) / kTileRows;
    MultiplySplit(keys_, kTilePositions, tiles, Query(block), steps_of(tile_.wide), false,
                  tile_.scores);
    VF keep[kVectors];
    SoftmaxLanes(b, begin, count, tile_.scores, keep);
    SplitLanes(tile_.scores, count, steps_of(count), weights_);
    if (!hn::AllTrue(d, hn::Eq(keep[0], hn::Set(d, 1.0f)))) {
      for (float* at = b.mixed; at < b.mixed + tile_.wide * kLaneQueries; at += kLaneQueries) {
        hn::Store(hn::Mul(keep[0], hn::Load(d, at)), d, at);
      }
    }
    MultiplySplit(values_, tile_.wide, tile_.wide / kTileRows, weights_, steps_of(count), true,
                  b.mixed);
  }

 private:
  uint16_t* Query(size_t block) const {
    return queries_ + block * 2 * steps_of(tile_.wide) * kTileNumbers;
  }

  const SharedTile& tile_;
  uint16_t* keys_;     // as SplitKeys gives them
  uint16_t* values_;   // as SplitValues does
  uint16_t* weights_;  // as SplitLanes does
  uint16_t* queries_;  // the same, for each block of lanes
};

}  // namespace dinfer::cpu::HWY_NAMESPACE
DINFER_AFTER_KERNELS
#endif  // DINFER_TILES
