#include <hwy/cache_control.h>

#include "kernels/cpu/amx.h"
#include "kernels/cpu/matmul.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/matmul_quantized.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h:
#include "kernels/cpu/panel-inl.h"
#include "kernels/cpu/quantized_tiles-inl.h"

DINFER_BEFORE_KERNELS
namespace dinfer::cpu::HWY_NAMESPACE {

HWY_INLINE VI BroadcastWord(const int8_t* from) {
  int32_t word;
  std::memcpy(&word, from, 4);
  return hn::Set(DI(), word);
}

// Dot products of the 4 bytes in each lane of `w`, unsigned, with the 4 bytes at `x`, signed in
// -127..127. What is added to `sum` is that less a bias times the sum of x's 4 bytes:
//   DotNibbles: w <= 15, bias 0
//   DotBytes:   any w, bias kByteBias
#if DINFER_VNNI
constexpr int kByteBias = 0;
HWY_INLINE VI DotNibbles(VI sum, VI w, const int8_t* x) {
  // _mm512_dpbusd_epi32 with x broadcast by the instruction itself. GCC 12 loads it into a register
  // first, which takes twice the instructions and registers and so costs a quarter of the speed.
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum.raw)
      : "v"(w.raw), "m"(*reinterpret_cast<const int8_t(*)[4]>(x)));
  return sum;
}
HWY_INLINE VI DotBytes(VI sum, VI w, const int8_t* x) { return DotNibbles(sum, w, x); }
#elif HWY_ARCH_X86 && HWY_TARGET == HWY_AVX3
constexpr int kByteBias = 128;  // signed bytes: pairs of unsigned ones would saturate 16 bits
HWY_INLINE VI AddPairs(VI sum, __m512i w, __m512i x) {
  const __m512i pairs = _mm512_maddubs_epi16(w, x);
  return VI{_mm512_add_epi32(sum.raw, _mm512_madd_epi16(pairs, _mm512_set1_epi16(1)))};
}
HWY_INLINE VI DotNibbles(VI sum, VI w, const int8_t* x) {
  return AddPairs(sum, w.raw, BroadcastWord(x).raw);
}
HWY_INLINE VI DotBytes(VI sum, VI w, const int8_t* x) {
  const __m512i bytes = BroadcastWord(x).raw;
  const __m512i is_signed = _mm512_xor_si512(w.raw, _mm512_set1_epi8(-128));
  const __mmask64 negative = _mm512_movepi8_mask(is_signed);
  return AddPairs(sum, _mm512_abs_epi8(is_signed),
                  _mm512_mask_sub_epi8(bytes, negative, _mm512_setzero_si512(), bytes));
}
#elif HWY_ARCH_X86 && HWY_TARGET == HWY_AVX2
constexpr int kByteBias = 128;
HWY_INLINE VI AddPairs(VI sum, __m256i w, __m256i x) {
  const __m256i pairs = _mm256_maddubs_epi16(w, x);
  return VI{_mm256_add_epi32(sum.raw, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))};
}
HWY_INLINE VI DotNibbles(VI sum, VI w, const int8_t* x) {
  return AddPairs(sum, w.raw, BroadcastWord(x).raw);
}
HWY_INLINE VI DotBytes(VI sum, VI w, const int8_t* x) {
  const __m256i is_signed = _mm256_xor_si256(w.raw, _mm256_set1_epi8(-128));
  return AddPairs(sum, _mm256_abs_epi8(is_signed),
                  _mm256_sign_epi8(BroadcastWord(x).raw, is_signed));
}
#else
constexpr int kByteBias = 0;
template <int kByte>
HWY_INLINE VI Product(VI w, VI x) {
  const DI d;
  const DU du;
  const VI code =
      hn::BitCast(d, hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(hn::BitCast(du, w))));
  return hn::Mul(code, hn::ShiftRight<24>(hn::ShiftLeft<24 - 8 * kByte>(x)));
}
HWY_INLINE VI DotBytes(VI sum, VI w, const int8_t* x) {
  const VI word = BroadcastWord(x);
  return hn::Add(sum, hn::Add(hn::Add(Product<0>(w, word), Product<1>(w, word)),
                              hn::Add(Product<2>(w, word), Product<3>(w, word))));
}
HWY_INLINE VI DotNibbles(VI sum, VI w, const int8_t* x) { return DotBytes(sum, w, x); }
#endif

// The type of scales is looked at in every block: beside the products that costs nothing, and each
// further kind of tile would take long to compile.
template <int kBits, bool kSymmetric, int kBlock>
struct QuantizedTile {
  const PackedMatrix& weight;
  const QuantizedRows& x;
  const Products& out;
  bool ahead = ReadsAhead();

  template <int kRows>
  HWY_INLINE void Run(int64_t panel, int64_t row) const {
    constexpr int kWords = kBlock * kBits / 32;
    const int64_t scale_bytes = kPanel * weight.scale_bytes();
    constexpr int kOffset =
        (kBits == 8 ? kByteBias : 0) - (kSymmetric ? (kBits == 4 ? 8 : 128) : 0);
    const DF d;
    const std::byte* from = weight.data + panel * weight.panel_bytes();
    const int8_t* codes = x.codes + row * x.row_bytes();
    const int64_t blocks = x.blocks();
    const int64_t per_group = weight.group / kBlock;
    const int64_t at = row * blocks;
    const int64_t group_bytes = weight.group_bytes();
    const int64_t panel_bytes = weight.panel_bytes();
    VF total[kRows][kVectors];
    for (int t = 0; t < kRows; ++t) {
      for (int v = 0; v < kVectors; ++v) total[t][v] = hn::Zero(d);
    }
    for (int64_t b = 0; b < blocks;) {
      const std::byte* scales = from;
      if constexpr (kRows > 1) {
        // The next panel, while this one serves several rows.
        ReadAhead(from, panel_bytes, group_bytes);
      } else if (ahead) {
        ReadAhead(from, kAhead, group_bytes);
      }
      from += kSymmetric ? scale_bytes : 2 * scale_bytes;
      for (const int64_t end = b + per_group; b < end; ++b) {
        VI high[kRows][kVectors], dots[kRows][kVectors];
        for (int t = 0; t < kRows; ++t) {
          for (int v = 0; v < kVectors; ++v) {
            high[t][v] = hn::Zero(DI());
            dots[t][v] = hn::Set(DI(), kOffset == 0 ? 0 : kOffset * x.sums[at + t * blocks + b]);
          }
        }
        Block<kRows, kWords>(from, codes + b * 2 * kBlock, high, dots);
        for (int t = 0; t < kRows; ++t) {
          for (int v = 0; v < kVectors; ++v) {
            dots[t][v] = hn::Add(dots[t][v], hn::ShiftLeft<QuantizedRows::kHighBits>(high[t][v]));
          }
        }
        from += kWords * kPanel * 4;
        for (int v = 0; v < kVectors; ++v) {
          const VF scale = LoadScales(weight, scales, v);
#pragma GCC unroll 8
          for (int t = 0; t < kRows; ++t) {
            const VF unit = hn::Mul(scale, hn::Set(d, x.scales[at + t * blocks + b]));
            total[t][v] = hn::MulAdd(hn::ConvertTo(d, dots[t][v]), unit, total[t][v]);
          }
          if constexpr (kSymmetric) continue;
          const VF minimum = LoadScales(weight, scales + scale_bytes, v);
#pragma GCC unroll 8
          for (int t = 0; t < kRows; ++t) {
            total[t][v] =
                hn::MulAdd(minimum, hn::Set(d, x.offsets[at + t * blocks + b]), total[t][v]);
          }
        }
      }
    }
    StorePanel<kRows>(total, out, row, panel, std::min(kPanel, weight.rows - panel * kPanel));
  }

  template <int kRows, int kWords>
  HWY_INLINE void Block(const std::byte* from, const int8_t* codes, VI (&high)[kRows][kVectors],
                        VI (&low)[kRows][kVectors]) const {
    const DI d;
    const auto* words = reinterpret_cast<const int32_t*>(from);
#pragma GCC unroll 8
    for (int w = 0; w < kWords; ++w) {
      for (int v = 0; v < kVectors; ++v) {
        const VI word = hn::LoadU(d, words + w * kPanel + v * kLanes);
        if constexpr (kBits == 8) {
          AddProducts<kRows>(high, v, word, codes + w * 4);
          AddProducts<kRows>(low, v, word, codes + kBlock + w * 4);
        } else {
          const VI nibbles = hn::Set(d, 0x0f0f0f0f);
          const VI even = hn::And(word, nibbles);
          const VI odd = hn::And(hn::ShiftRight<4>(word), nibbles);
          // A sum is not added to twice in a row: it then waits for nothing.
          AddProducts<kRows>(high, v, even, codes + w * 8);
          AddProducts<kRows>(low, v, even, codes + kBlock + w * 8);
          AddProducts<kRows>(high, v, odd, codes + w * 8 + 4);
          AddProducts<kRows>(low, v, odd, codes + kBlock + w * 8 + 4);
        }
      }
    }
  }

  // sums[row][v] += w times the 4 codes of each row at `codes`.
  template <int kRows>
  HWY_INLINE void AddProducts(VI (&sums)[kRows][kVectors], int v, VI w, const int8_t* codes) const {
#pragma GCC unroll 8
    for (int t = 0; t < kRows; ++t) {
      const int8_t* of_row = codes + t * x.row_bytes();
      sums[t][v] = kBits == 8 ? DotBytes(sums[t][v], w, of_row) : DotNibbles(sums[t][v], w, of_row);
    }
  }
};

template <class Tile>
void MultiplyTiles(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin, int64_t end,
                   const Products& out) {
  ForEachTile(Tile{weight, x, out}, x.count, x.row_bytes(), begin, end);
}

#if DINFER_TILES
bool MultipliesTiles() { return amx_works(); }
template <bool kSymmetric>
void MultiplyFormInTiles(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin,
                         int64_t end, const Products& out) {
  const auto multiply =
      weight.block() == 16 ? MultiplyInTiles<kSymmetric, 16> : MultiplyInTiles<kSymmetric, 32>;
  multiply(weight, x, begin, end, out);
}
#else
bool MultipliesTiles() { return false; }
#endif

template <int kBits, bool kSymmetric>
void MultiplyForm(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin, int64_t end,
                  const Products& out) {
  const auto multiply = weight.block() == 16 ? MultiplyTiles<QuantizedTile<kBits, kSymmetric, 16>>
                                             : MultiplyTiles<QuantizedTile<kBits, kSymmetric, 32>>;
  multiply(weight, x, begin, end, out);
}

void MultiplyQuantized(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin,
                       int64_t end, const Products& out) {
#if DINFER_TILES
  if (x.tile > 1) {
    const auto multiply = weight.symmetric ? MultiplyFormInTiles<true> : MultiplyFormInTiles<false>;
    multiply(weight, x, begin, end, out);
    return;
  }
#endif
  const auto multiply = weight.bits == 4
                            ? (weight.symmetric ? MultiplyForm<4, true> : MultiplyForm<4, false>)
                            : (weight.symmetric ? MultiplyForm<8, true> : MultiplyForm<8, false>);
  multiply(weight, x, begin, end, out);
}

const char* TargetName() { return hwy::TargetName(HWY_TARGET); }

}  // namespace dinfer::cpu::HWY_NAMESPACE
DINFER_AFTER_KERNELS

#if HWY_ONCE
namespace dinfer::cpu {

HWY_EXPORT(MultiplyQuantized);
HWY_EXPORT(MultipliesTiles);
HWY_EXPORT(TargetName);

void multiply_quantized(const PackedMatrix& weight, const QuantizedRows& x, int64_t begin,
                        int64_t end, const Products& out) {
  HWY_DYNAMIC_DISPATCH(MultiplyQuantized)(weight, x, begin, end, out);
}

bool multiplies_tiles() { return HWY_DYNAMIC_DISPATCH(MultipliesTiles)(); }

const char* matmul_target() { return HWY_DYNAMIC_DISPATCH(TargetName)(); }

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
