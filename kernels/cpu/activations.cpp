#include "kernels/cpu/activations.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/activations.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h:
#include <hwy/contrib/math/math-inl.h>

HWY_BEFORE_NAMESPACE();
namespace dinfer::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::ScalableTag<float>;
using VF = hn::Vec<DF>;

float InverseRms(const float* row, int64_t count, float epsilon) {
  const DF d;
  const int64_t n = hn::Lanes(d);
  VF sum0 = hn::Zero(d), sum1 = hn::Zero(d);
  int64_t i = 0;
  for (; i + 2 * n <= count; i += 2 * n) {
    const VF a = hn::LoadU(d, row + i), b = hn::LoadU(d, row + i + n);
    sum0 = hn::MulAdd(a, a, sum0);
    sum1 = hn::MulAdd(b, b, sum1);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(sum0, sum1)));
  for (; i < count; ++i) sum += row[i] * row[i];
  return 1.0f / std::sqrt(sum / static_cast<float>(count) + epsilon);
}

// x / (1 + exp(-x))
HWY_INLINE VF Silu(DF d, VF x) {
  // Below -80 the quotient is 0 to f32's precision, and exp() would overflow further down.
  const VF bounded = hn::Max(x, hn::Set(d, -80.0f));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(bounded))));
}

// 0.5 x (1 + tanh(y)) = x / (1 + exp(-2y)), y = sqrt(2/pi) (x + 0.044715 x^3)
HWY_INLINE VF GeluTanh(DF d, VF x) {
  const VF cubic = hn::MulAdd(hn::Mul(hn::Mul(x, x), x), hn::Set(d, 0.044715f), x);
  const VF y2 = hn::Mul(cubic, hn::Set(d, 2.0f * 0.7978845608f));
  const VF bounded = hn::Max(y2, hn::Set(d, -80.0f));
  return hn::Div(x, hn::Add(hn::Set(d, 1.0f), hn::Exp(d, hn::Neg(bounded))));
}

HWY_INLINE VF Activate(DF d, Activation activation, VF x) {
  if (activation == Activation::silu) return Silu(d, x);
  if (activation == Activation::gelu_tanh) return GeluTanh(d, x);
  HWY_ALIGN float lanes[HWY_MAX_BYTES / sizeof(float)];
  hn::Store(x, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) {
    lanes[i] = 0.5f * lanes[i] * (1.0f + std::erf(lanes[i] * 0.70710678f));
  }
  return hn::Load(d, lanes);
}

// `count` columns from `begin`; inverse: 1 / rms where the row is normed.
HWY_INLINE VF PrepareVector(DF d, const Rows& in, const float* row, int64_t c, VF inverse) {
  const VF x = hn::LoadU(d, row + c);
  switch (in.kind) {
    case Rows::Kind::plain:
      return x;
    case Rows::Kind::normed:
      return hn::Mul(hn::Mul(x, inverse), hn::LoadU(d, in.norm + c));
    case Rows::Kind::gated:
      return hn::Mul(Activate(d, in.activation, x), hn::LoadU(d, row + in.columns + c));
  }
  return x;
}

VF InverseOf(DF d, const Rows& in, const float* row) {
  return in.kind == Rows::Kind::normed ? hn::Set(d, InverseRms(row, in.columns, in.epsilon))
                                       : hn::Zero(d);
}

// Columns past a whole number of vectors, as one padded vector, so that they take the same
// arithmetic.
void PrepareTail(DF d, const Rows& in, const float* row, int64_t begin, int64_t end, VF inverse,
                 float* out) {
  constexpr size_t kLanes = HWY_MAX_BYTES / sizeof(float);
  HWY_ALIGN float x[2 * kLanes] = {};
  HWY_ALIGN float norm[kLanes] = {};
  Rows tail = in;
  tail.columns = kLanes;
  tail.norm = norm;
  for (int64_t c = begin; c < end; ++c) {
    x[c - begin] = row[c];
    if (in.kind == Rows::Kind::normed) norm[c - begin] = in.norm[c];
    if (in.kind == Rows::Kind::gated) x[kLanes + c - begin] = row[in.columns + c];
  }
  HWY_ALIGN float result[kLanes];
  hn::Store(PrepareVector(d, tail, x, 0, inverse), d, result);
  std::copy_n(result, end - begin, out);
}

void PrepareColumns(DF d, const Rows& in, const float* row, int64_t begin, int64_t end, VF inverse,
                    float* out) {
  const int64_t n = hn::Lanes(d);
  int64_t c = begin;
  for (; c + n <= end; c += n) {
    hn::StoreU(PrepareVector(d, in, row, c, inverse), d, out + c - begin);
  }
  if (c < end) PrepareTail(d, in, row, c, end, inverse, out + c - begin);
}

void PrepareRow(const Rows& in, int64_t r, int64_t begin, int64_t end, float* out) {
  const DF d;
  const float* row = in.row(r);
  PrepareColumns(d, in, row, begin, end, InverseOf(d, in, row), out);
}

// The upper halves of the f32 numbers with these bits, rounded to the nearest, ties to even.
template <class DU, class VU = hn::Vec<DU>>
HWY_INLINE VU RoundToBf16(DU d, VU bits) {
  const VU odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  return hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fff))));
}

void SplitRow(const Rows& in, int64_t r, int64_t begin, int64_t end, const SplitRows& out) {
  constexpr int kBlock = SplitRows::kBlock;
  const DF d;
  const hn::RebindToUnsigned<DF> du;
  const hn::RebindToSigned<DF> di;
  const hn::Rebind<uint16_t, DF> d16;
  const int n = hn::Lanes(d);
  const float* row = in.row(r);
  const VF inverse = InverseOf(d, in, row);
  for (int64_t b = begin; b < end; ++b) {
    HWY_ALIGN float rest[kBlock] = {};
    const bool whole = (b + 1) * kBlock <= in.columns;
    if (!whole) PrepareColumns(d, in, row, b * kBlock, in.columns, inverse, rest);
    uint16_t* to = out.at(r, b);
    for (int i = 0; i < kBlock; i += n) {
      const VF value =
          whole ? PrepareVector(d, in, row, b * kBlock + i, inverse) : hn::Load(d, rest + i);
      const auto high = RoundToBf16(du, hn::BitCast(du, value));
      const VF left = hn::Sub(value, hn::BitCast(d, hn::ShiftLeft<16>(high)));
      const auto low = RoundToBf16(du, hn::BitCast(du, left));
      hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, high)), d16, to + i);
      hn::StoreU(hn::DemoteTo(d16, hn::BitCast(di, low)), d16, to + out.tile * kBlock + i);
    }
  }
}

void AddNormedRow(const float* row, const float* norm, float epsilon, int64_t columns, float* out) {
  const DF d;
  const int64_t n = hn::Lanes(d);
  const float inverse = InverseRms(row, columns, epsilon);
  const VF inverses = hn::Set(d, inverse);
  int64_t c = 0;
  for (; c + n <= columns; c += n) {
    const VF normed = hn::Mul(hn::LoadU(d, row + c), inverses);
    hn::StoreU(hn::MulAdd(normed, hn::LoadU(d, norm + c), hn::LoadU(d, out + c)), d, out + c);
  }
  for (; c < columns; ++c) out[c] += row[c] * inverse * norm[c];
}

// Puts the even bytes of each 8 first.
void EvenOdd(int8_t* bytes, int count) {
#if HWY_TARGET == HWY_SCALAR
  for (int i = 0; i < count; i += 8) {
    int8_t eight[8];
    std::copy_n(bytes + i, 8, eight);
    for (int k = 0; k < 8; ++k) bytes[i + k % 2 * 4 + k / 2] = eight[k];
  }
#else
  const hn::FixedTag<uint8_t, 16> d;
  alignas(16) static constexpr uint8_t kOrder[16] = {0, 2,  4,  6,  1, 3,  5,  7,
                                                     8, 10, 12, 14, 9, 11, 13, 15};
  const auto order = hn::Load(d, kOrder);
  for (int i = 0; i < count; i += 16) {
    auto* at = reinterpret_cast<uint8_t*>(bytes) + i;
    hn::StoreU(hn::TableLookupBytes(hn::LoadU(d, at), order), d, at);
  }
#endif
}

// Rounds the block's `values`, none above `largest`, to codes of row `r`.
void RoundBlock(const float* HWY_RESTRICT values, float largest, int64_t r, int64_t b,
                const QuantizedRows& out) {
  constexpr int kHighBits = QuantizedRows::kHighBits;
  constexpr float kLargestCode = 127 << kHighBits;
  const DF d;
  const hn::RebindToSigned<DF> di;
  const hn::Rebind<int8_t, DF> d8;
  const int n = hn::Lanes(d);
  // The reciprocal of less would overflow; such a block is zero to any purpose.
  const VF to_codes = hn::Set(d, largest > 1e-30f ? kLargestCode / largest : 0.0f);
  const int64_t at = out.at(r, b);
  int8_t* high = out.codes + at * 2 * out.block;
  int8_t* low = high + out.block;
  auto sums = hn::Zero(di);
  for (int i = 0; i < out.block; i += n) {
    const auto code = hn::NearestInt(hn::Mul(hn::Load(d, values + i), to_codes));
    const auto upper = hn::ShiftRight<kHighBits>(hn::Add(code, hn::Set(di, 1 << (kHighBits - 1))));
    sums = hn::Add(sums, code);
    hn::StoreU(hn::DemoteTo(d8, upper), d8, high + i);
    hn::StoreU(hn::DemoteTo(d8, hn::Sub(code, hn::ShiftLeft<kHighBits>(upper))), d8, low + i);
  }
  if (out.even_odd) EvenOdd(high, 2 * out.block);
  const int32_t sum = hn::GetLane(hn::SumOfLanes(di, sums));
  const float scale = largest / kLargestCode;
  out.scales[at] = scale;
  out.sums[at] = sum;
  out.offsets[at] = scale * static_cast<float>(sum);
}

void QuantizeRow(const Rows& in, int64_t r, int64_t begin, int64_t end, const QuantizedRows& out) {
  const DF d;
  const int n = hn::Lanes(d);
  const float* row = in.row(r);
  const VF inverse = InverseOf(d, in, row);
  HWY_ALIGN float values[32];
  for (int64_t b = begin; b < end; ++b) {
    VF top = hn::Zero(d);
    for (int i = 0; i < out.block; i += n) {
      const VF v = PrepareVector(d, in, row, b * out.block + i, inverse);
      hn::Store(v, d, values + i);
      top = hn::Max(top, hn::Abs(v));
    }
    RoundBlock(values, hn::GetLane(hn::MaxOfLanes(d, top)), r, b, out);
  }
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dinfer::cpu {

HWY_EXPORT(PrepareRow);
HWY_EXPORT(SplitRow);
HWY_EXPORT(QuantizeRow);
HWY_EXPORT(AddNormedRow);

void prepare_row(const Rows& in, int64_t row, int64_t begin, int64_t end, float* out) {
  HWY_DYNAMIC_DISPATCH(PrepareRow)(in, row, begin, end, out);
}

void split_row(const Rows& in, int64_t row, int64_t begin, int64_t end, const SplitRows& out) {
  HWY_DYNAMIC_DISPATCH(SplitRow)(in, row, begin, end, out);
}

void quantize_row(const Rows& in, int64_t row, int64_t begin, int64_t end,
                  const QuantizedRows& out) {
  HWY_DYNAMIC_DISPATCH(QuantizeRow)(in, row, begin, end, out);
}

void add_normed_row(const float* row, const float* norm, float epsilon, int64_t columns,
                    float* out) {
  HWY_DYNAMIC_DISPATCH(AddNormedRow)(row, norm, epsilon, columns, out);
}

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
