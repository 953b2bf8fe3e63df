#include "kernels/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "base/dtype.h"
#include "kernels/cpu/amx_tile.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/attention.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// After highway.h:
#include <hwy/contrib/math/math-inl.h>

#include "kernels/cpu/target-inl.h"

#ifndef DINFER_ATTENTION_CONSTANTS
#define DINFER_ATTENTION_CONSTANTS
namespace dinfer::cpu {
constexpr int64_t kLaneQueries = 16;    // queries side by side in vectors: a token and head each
constexpr int64_t kTilePositions = 64;  // of the cache, widened to f32 at a time
constexpr float kMasked = -1e30f;       // a score that weighs nothing, and is no infinity
constexpr int64_t padded(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
}  // namespace dinfer::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace dinfer::cpu::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using DF = hn::CappedTag<float, kLaneQueries>;
using DH = hn::Rebind<hwy::float16_t, DF>;
using DB = hn::Rebind<uint8_t, DF>;
using VF = hn::Vec<DF>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));
constexpr int kVectors = static_cast<int>(kLaneQueries) / kLanes;
constexpr int kRowsAtOnce = kVectors == 1 ? 8 : kVectors == 2 ? 4 : 1;

void NormAndRotate(float* head, int64_t dim, const float* norm, float epsilon, const float* cosine,
                   const float* sine, int64_t half) {
  const DF d;
  if (norm) {
    float squares = 0.0f;
    for (int64_t i = 0; i < dim; ++i) squares += head[i] * head[i];
    const float inverse = 1.0f / std::sqrt(squares / static_cast<float>(dim) + epsilon);
    for (int64_t i = 0; i < dim; ++i) head[i] = head[i] * inverse * norm[i];
  }
  int64_t i = 0;
  for (; i + kLanes <= half; i += kLanes) {
    const VF c = hn::LoadU(d, cosine + i), s = hn::LoadU(d, sine + i);
    const VF a = hn::LoadU(d, head + i), b = hn::LoadU(d, head + half + i);
    hn::StoreU(hn::NegMulAdd(b, s, hn::Mul(a, c)), d, head + i);
    hn::StoreU(hn::MulAdd(a, s, hn::Mul(b, c)), d, head + half + i);
  }
  for (; i < half; ++i) {
    const float a = head[i], b = head[half + i];
    head[i] = a * cosine[i] - b * sine[i];
    head[half + i] = b * cosine[i] + a * sine[i];
  }
}

void Narrow(const float* from, int64_t count, KvType type, std::byte* to) {
  if (type == KvType::f32) {
    std::copy_n(from, count, reinterpret_cast<float*>(to));
    return;
  }
  if (type == KvType::f8) {
    std::transform(from, from + count, reinterpret_cast<uint8_t*>(to), f32_to_f8);
    return;
  }
  const DF d;
  auto* halves = reinterpret_cast<hwy::float16_t*>(to);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(hn::DemoteTo(DH(), hn::LoadU(d, from + i)), DH(), halves + i);
  }
  for (; i < count; ++i) {
    const uint16_t bits = f32_to_f16(from[i]);
    std::copy_n(reinterpret_cast<const std::byte*>(&bits), 2, to + 2 * i);
  }
}

void AppendKv(const PagedKv& cache, int64_t kv_head, int64_t position, const float* key,
              const float* value) {
  const size_t at = cache.offset(kv_head, position);
  Narrow(key, cache.head_dim, cache.type, cache.keys + at);
  Narrow(value, cache.head_dim, cache.type, cache.values + at);
}

// As halves: an f8 is one with another bias of the exponent, in subnormals too.
void WidenF8(const uint8_t* from, int64_t count, float* to) {
  constexpr float kBias = 256.0f;
  const DF d;
  const hn::Rebind<uint16_t, DF> d16;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto bits = hn::PromoteTo(d16, hn::LoadU(DB(), from + i));
    const auto sign = hn::ShiftLeft<8>(hn::And(bits, hn::Set(d16, 0x80)));
    const auto size = hn::ShiftLeft<7>(hn::And(bits, hn::Set(d16, 0x7f)));
    const VF value = hn::PromoteTo(d, hn::BitCast(DH(), hn::Or(sign, size)));
    hn::StoreU(hn::Mul(value, hn::Set(d, kBias)), d, to + i);
  }
  for (; i < count; ++i) to[i] = f8_to_f32(from[i]);
}

// Positions [begin, begin + count) of one KV head as f32 [count, padded(head_dim)], padding zero.
void Widen(const std::byte* base, const PagedKv& cache, int64_t kv_head, int64_t begin,
           int64_t count, float* to) {
  const DF d;
  const int64_t dim = cache.head_dim, wide = padded(dim);
  const std::byte* from = nullptr;
  for (int64_t p = 0, left = 0; p < count; ++p, --left, to += wide) {
    if (left == 0) {
      from = base + cache.offset(kv_head, begin + p);
      left = cache.block_size - (begin + p) % cache.block_size;
    } else {
      from += dim * bytes_of(cache.type);
    }
    if (cache.type == KvType::f32) {
      std::copy_n(reinterpret_cast<const float*>(from), dim, to);
    } else if (cache.type == KvType::f8) {
      WidenF8(reinterpret_cast<const uint8_t*>(from), dim, to);
    } else {
      const auto* halves = reinterpret_cast<const hwy::float16_t*>(from);
      int64_t i = 0;
      for (; i + kLanes <= dim; i += kLanes) {
        hn::StoreU(hn::PromoteTo(d, hn::LoadU(DH(), halves + i)), d, to + i);
      }
      for (; i < dim; ++i) {
        uint16_t bits;
        std::copy_n(from + 2 * i, 2, reinterpret_cast<std::byte*>(&bits));
        to[i] = f16_to_f32(bits);
      }
    }
    std::fill(to + dim, to + wide, 0.0f);
  }
}

// ---- one token
// -------------------------------------------------------------------------------------

// scores[p] = scale * (q . keys[p])
void ScoreOne(const float* q, const float* keys, int64_t wide, int64_t count, float scale,
              float* scores) {
  const DF d;
  int64_t p = 0;
  for (; p + 4 <= count; p += 4) {
    const float* k = keys + p * wide;
    VF s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t i = 0; i < wide; i += kLanes) {
      const VF x = hn::LoadU(d, q + i);
      s0 = hn::MulAdd(x, hn::LoadU(d, k + i), s0);
      s1 = hn::MulAdd(x, hn::LoadU(d, k + wide + i), s1);
      s2 = hn::MulAdd(x, hn::LoadU(d, k + 2 * wide + i), s2);
      s3 = hn::MulAdd(x, hn::LoadU(d, k + 3 * wide + i), s3);
    }
    scores[p] = scale * hn::GetLane(hn::SumOfLanes(d, s0));
    scores[p + 1] = scale * hn::GetLane(hn::SumOfLanes(d, s1));
    scores[p + 2] = scale * hn::GetLane(hn::SumOfLanes(d, s2));
    scores[p + 3] = scale * hn::GetLane(hn::SumOfLanes(d, s3));
  }
  for (; p < count; ++p) {
    VF s = hn::Zero(d);
    for (int64_t i = 0; i < wide; i += kLanes) {
      s = hn::MulAdd(hn::LoadU(d, q + i), hn::LoadU(d, keys + p * wide + i), s);
    }
    scores[p] = scale * hn::GetLane(hn::SumOfLanes(d, s));
  }
}

// scores[p] = exp(scores[p] - top), [count] padded with kMasked to whole vectors; returns their
// sum.
float ExpAll(float* scores, int64_t count, float top) {
  const DF d;
  VF sum = hn::Zero(d);
  for (int64_t p = 0; p < count; p += kLanes) {
    const VF shifted = hn::Sub(hn::LoadU(d, scores + p), hn::Set(d, top));
    const VF weight = hn::Exp(d, hn::Max(shifted, hn::Set(d, -100.0f)));
    const VF kept = hn::IfThenElseZero(hn::Gt(shifted, hn::Set(d, -90.0f)), weight);
    hn::StoreU(kept, d, scores + p);
    sum = hn::Add(sum, kept);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// into = into * keep + sum over p of weights[p] * values[p]
void MixValues(const float* weights, const float* values, int64_t wide, int64_t count, float keep,
               float* into) {
  const DF d;
  constexpr int kAtOnce = 4;
  int64_t i = 0;
  for (; i + kAtOnce * kLanes <= wide; i += kAtOnce * kLanes) {
    VF sums[kAtOnce];
    for (int k = 0; k < kAtOnce; ++k) {
      sums[k] = hn::Mul(hn::Set(d, keep), hn::LoadU(d, into + i + k * kLanes));
    }
    for (int64_t p = 0; p < count; ++p) {
      const VF w = hn::Set(d, weights[p]);
      for (int k = 0; k < kAtOnce; ++k) {
        sums[k] = hn::MulAdd(w, hn::LoadU(d, values + p * wide + i + k * kLanes), sums[k]);
      }
    }
    for (int k = 0; k < kAtOnce; ++k) hn::StoreU(sums[k], d, into + i + k * kLanes);
  }
  for (; i < wide; i += kLanes) {
    VF sum = hn::Mul(hn::Set(d, keep), hn::LoadU(d, into + i));
    for (int64_t p = 0; p < count; ++p) {
      sum = hn::MulAdd(hn::Set(d, weights[p]), hn::LoadU(d, values + p * wide + i), sum);
    }
    hn::StoreU(sum, d, into + i);
  }
}

void AttendPart(const Queries& q, const PagedKv& cache, int64_t kv_head, int64_t begin, int64_t end,
                float* scratch, float* sums, float* tops, float* weights) {
  const int64_t dim = cache.head_dim, wide = padded(dim);
  float* keys = scratch;
  float* values = keys + kTilePositions * wide;
  float* query = values + kTilePositions * wide;  // [heads, wide]
  float* mixed = query + q.heads * wide;          // [heads, wide]
  for (int64_t h = 0; h < q.heads; ++h) {
    std::copy_n(q.data + h * dim, dim, query + h * wide);
    std::fill(query + h * wide + dim, query + (h + 1) * wide, 0.0f);
    std::fill(mixed + h * wide, mixed + (h + 1) * wide, 0.0f);
    tops[h] = kMasked;
    weights[h] = 0.0f;
  }
  for (int64_t p = begin; p < end; p += kTilePositions) {
    const int64_t count = std::min(kTilePositions, end - p);
    Widen(cache.keys, cache, kv_head, p, count, keys);
    Widen(cache.values, cache, kv_head, p, count, values);
    for (int64_t h = 0; h < q.heads; ++h) {
      alignas(64) float scores[kTilePositions];
      ScoreOne(query + h * wide, keys, wide, count, q.scale, scores);
      std::fill(scores + count, scores + (count + 15) / 16 * 16, 2 * kMasked);
      const float top = std::max(tops[h], *std::max_element(scores, scores + count));
      const float keep = tops[h] == kMasked ? 0.0f : std::exp(tops[h] - top);
      weights[h] = weights[h] * keep + ExpAll(scores, count, top);
      tops[h] = top;
      MixValues(scores, values, wide, count, keep, mixed + h * wide);
    }
  }
  for (int64_t h = 0; h < q.heads; ++h) std::copy_n(mixed + h * wide, dim, sums + h * dim);
}

// ---- many tokens: queries lie in the lanes, so softmax needs no sums across lanes
// ---------------------

// Up to kLaneQueries queries and what they have gathered so far.
struct LaneBlock {
  float* query;  // [wide][16], scaled
  float* mixed;  // [wide][16]
  alignas(64) float top[kLaneQueries];
  alignas(64) float weight[kLaneQueries];
  alignas(64) float position[kLaneQueries];  // whole numbers below 2^24
  alignas(64) float first[kLaneQueries];     // first position seen
  int64_t last_seen;                         // of any lane
  int64_t all_see_from, all_see_to;          // positions that every lane sees: [from, to]
};

// scores[p][lane] = keys[p] . query[lane]
template <int kRows>
HWY_INLINE void ScoreLanes(const float* query, const float* keys, int64_t wide, float* scores) {
  const DF d;
  VF sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  for (int64_t i = 0; i < wide; ++i) {
    VF q[kVectors];
    for (int v = 0; v < kVectors; ++v) q[v] = hn::Load(d, query + i * kLaneQueries + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VF k = hn::Set(d, keys[r * wide + i]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(k, q[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(sums[r][v], d, scores + r * kLaneQueries + v * kLanes);
    }
  }
}

// mixed[i][lane] = mixed[i][lane] * keep[lane] + sum over p of values[p][i] * weights[p][lane], for
// kRows values of i.
template <int kRows>
HWY_INLINE void MixLanes(const float* weights, const float* values, int64_t wide, int64_t count,
                         const VF (&keep)[kVectors], float* mixed) {
  const DF d;
  VF sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      sums[r][v] = hn::Mul(keep[v], hn::Load(d, mixed + r * kLaneQueries + v * kLanes));
    }
  }
  for (int64_t p = 0; p < count; ++p) {
    VF w[kVectors];
    for (int v = 0; v < kVectors; ++v) w[v] = hn::Load(d, weights + p * kLaneQueries + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const VF value = hn::Set(d, values[p * wide + r]);
      for (int v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, w[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) {
      hn::Store(sums[r][v], d, mixed + r * kLaneQueries + v * kLanes);
    }
  }
}

// Scores to weights: masks what a lane does not see, keeps the running maximum. `keep` gets the
// factor for what was gathered before.
void SoftmaxLanes(LaneBlock& b, int64_t begin, int64_t count, float* scores, VF (&keep)[kVectors]) {
  const DF d;
  const bool masked = begin < b.all_see_from || begin + count - 1 > b.all_see_to;
  for (int v = 0; v < kVectors; ++v) {
    const int at = v * kLanes;
    const VF position = hn::Load(d, b.position + at), first = hn::Load(d, b.first + at);
    VF top = hn::Load(d, b.top + at);
    const VF old_top = top;
    for (int64_t p = 0; p < count; ++p) {
      float* score = scores + p * kLaneQueries + at;
      VF s = hn::Load(d, score);
      if (masked) {
        const VF here = hn::Set(d, static_cast<float>(begin + p));
        const auto seen = hn::And(hn::Le(here, position), hn::Ge(here, first));
        s = hn::IfThenElse(seen, s, hn::Set(d, kMasked));
        hn::Store(s, d, score);
      }
      top = hn::Max(top, s);
    }
    VF sum = hn::Zero(d);
    for (int64_t p = 0; p < count; ++p) {
      float* score = scores + p * kLaneQueries + at;
      const VF s = hn::Load(d, score);
      const VF bounded = hn::Max(hn::Sub(s, top), hn::Set(d, -87.0f));
      const VF weight = hn::IfThenElseZero(hn::Gt(s, hn::Set(d, kMasked)), hn::Exp(d, bounded));
      hn::Store(weight, d, score);
      sum = hn::Add(sum, weight);
    }
    keep[v] = hn::Exp(d, hn::Max(hn::Sub(old_top, top), hn::Set(d, -87.0f)));
    hn::Store(top, d, b.top + at);
    hn::Store(hn::MulAdd(hn::Load(d, b.weight + at), keep[v], sum), d, b.weight + at);
  }
}

void AttendTile(LaneBlock& b, const float* keys, const float* values, int64_t wide, int64_t begin,
                int64_t count, float* scores) {
  int64_t p = 0;
  for (; p + kRowsAtOnce <= count; p += kRowsAtOnce) {
    ScoreLanes<kRowsAtOnce>(b.query, keys + p * wide, wide, scores + p * kLaneQueries);
  }
  for (; p < count; ++p) ScoreLanes<1>(b.query, keys + p * wide, wide, scores + p * kLaneQueries);
  VF keep[kVectors];
  SoftmaxLanes(b, begin, count, scores, keep);
  for (int64_t i = 0; i < wide; i += kRowsAtOnce) {
    MixLanes<kRowsAtOnce>(scores, values + i, wide, count, keep, b.mixed + i * kLaneQueries);
  }
}

// Lanes [first, first + 16) of the (token, head) pairs of q; lanes past the end repeat the last
// pair.
void FillLanes(const Queries& q, int64_t dim, int64_t wide, int64_t first, LaneBlock& b) {
  const int64_t pairs = q.tokens * q.heads;
  const float* from[kLaneQueries];
  for (int64_t lane = 0; lane < kLaneQueries; ++lane) {
    const int64_t pair = std::min(first + lane, pairs - 1);
    const int64_t token = pair / q.heads;
    const int64_t position = q.position + token;
    from[lane] = q.data + token * q.stride + (pair - token * q.heads) * dim;
    b.top[lane] = kMasked;
    b.weight[lane] = 0.0f;
    b.position[lane] = static_cast<float>(position);
    b.first[lane] = static_cast<float>(q.first_seen(position));
    if (lane == 0) b.all_see_to = position;
    b.last_seen = position;
    b.all_see_from = q.first_seen(position);
  }
  // Not lane by lane: the compiler would scatter, which is slower than one by one.
  for (int64_t i = 0; i < dim; ++i) {
    for (int64_t lane = 0; lane < kLaneQueries; ++lane) {
      b.query[i * kLaneQueries + lane] = q.scale * from[lane][i];
    }
  }
  std::fill_n(b.query + dim * kLaneQueries, (wide - dim) * kLaneQueries, 0.0f);
  std::fill_n(b.mixed, wide * kLaneQueries, 0.0f);
}

// What lanes [first, first + 16) have gathered, to their rows and heads of `out`.
void EmptyLanes(const Queries& q, int64_t dim, int64_t first, LaneBlock& b, float* out,
                int64_t out_stride) {
  const DF d;
  const int64_t lanes = std::min(kLaneQueries, q.tokens * q.heads - first);
  float* to[kLaneQueries];
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t token = (first + lane) / q.heads;
    to[lane] = out + token * out_stride + (first + lane - token * q.heads) * dim;
  }
  for (int v = 0; v < kVectors; ++v) {
    const VF inverse = hn::Div(hn::Set(d, 1.0f), hn::Load(d, b.weight + v * kLanes));
    for (int64_t i = 0; i < dim; ++i) {
      float* at = b.mixed + i * kLaneQueries + v * kLanes;
      hn::Store(hn::Mul(hn::Load(d, at), inverse), d, at);
    }
  }
  for (int64_t i = 0; i < dim; ++i) {
    for (int64_t lane = 0; lane < lanes; ++lane) to[lane][i] = b.mixed[i * kLaneQueries + lane];
  }
}

// A tile of keys and values [kTilePositions, wide], and what else the blocks share.
struct SharedTile {
  int64_t wide;
  float* keys;
  float* values;
  float* scores;  // [kTilePositions][16]

  SharedTile(float* scratch, int64_t wide)
      : wide(wide),
        keys(scratch),
        values(keys + kTilePositions * wide),
        scores(values + kTilePositions * wide) {}
  float* end() const { return scores + kTilePositions * kLaneQueries; }
};

// Numbers as they are, in vectors.
struct VectorArithmetic {
  const SharedTile& tile;

  VectorArithmetic(const SharedTile& tile, std::span<const LaneBlock>, float*) : tile(tile) {}
  void Take(int64_t) const {}  // so many positions, which are in the tile now
  void Attend(LaneBlock& b, size_t, int64_t begin, int64_t count) const {
    AttendTile(b, tile.keys, tile.values, tile.wide, begin, count, tile.scores);
  }
};

template <class Arithmetic>
void AttendTokensBy(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                    float* out, int64_t out_stride) {
  const int64_t dim = cache.head_dim, wide = padded(dim);
  const SharedTile tile(scratch, wide);
  std::vector<LaneBlock> blocks((q.tokens * q.heads + kLaneQueries - 1) / kLaneQueries);
  float* lanes = tile.end();
  for (size_t i = 0; i < blocks.size(); ++i, lanes += 2 * wide * kLaneQueries) {
    blocks[i].query = lanes;
    blocks[i].mixed = lanes + wide * kLaneQueries;
    FillLanes(q, dim, wide, i * kLaneQueries, blocks[i]);
  }
  Arithmetic arithmetic(tile, blocks, lanes);
  const int64_t last = q.position + q.tokens;
  for (int64_t p = q.first_seen(q.position); p < last; p += kTilePositions) {
    const int64_t count = std::min(kTilePositions, last - p);
    Widen(cache.keys, cache, kv_head, p, count, tile.keys);
    Widen(cache.values, cache, kv_head, p, count, tile.values);
    arithmetic.Take(count);
    for (size_t i = 0; i < blocks.size(); ++i) {
      if (p > blocks[i].last_seen) continue;
      // Whole steps of ScoreLanes: single positions are slower than what a masked few cost.
      const int64_t seen = (blocks[i].last_seen - p) / kRowsAtOnce * kRowsAtOnce + kRowsAtOnce;
      arithmetic.Attend(blocks[i], i, p, std::min(count, seen));
    }
  }
  for (size_t i = 0; i < blocks.size(); ++i) {
    EmptyLanes(q, dim, i * kLaneQueries, blocks[i], out, out_stride);
  }
}

void AttendTokens(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                  float* out, int64_t out_stride) {
  AttendTokensBy<VectorArithmetic>(q, cache, kv_head, scratch, out, out_stride);
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#include "kernels/cpu/attention_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dinfer::cpu::HWY_NAMESPACE {

void AttendTokensInTiles(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                         float* out, int64_t out_stride) {
#if DINFER_TILES
  AttendTokensBy<TileArithmetic>(q, cache, kv_head, scratch, out, out_stride);
#else
  AttendTokens(q, cache, kv_head, scratch, out, out_stride);
#endif
}

}  // namespace dinfer::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dinfer::cpu {

HWY_EXPORT(NormAndRotate);
HWY_EXPORT(AppendKv);
HWY_EXPORT(AttendPart);
HWY_EXPORT(AttendTokens);
HWY_EXPORT(AttendTokensInTiles);

void norm_and_rotate(float* head, int64_t head_dim, const float* norm, float epsilon,
                     const float* cosine, const float* sine, int64_t half) {
  HWY_DYNAMIC_DISPATCH(NormAndRotate)(head, head_dim, norm, epsilon, cosine, sine, half);
}

void append_kv(const PagedKv& cache, int64_t kv_head, int64_t position, const float* key,
               const float* value) {
  HWY_DYNAMIC_DISPATCH(AppendKv)(cache, kv_head, position, key, value);
}

void attend_part(const Queries& q, const PagedKv& cache, int64_t kv_head, int64_t begin,
                 int64_t end, float* scratch, float* sums, float* tops, float* weights) {
  HWY_DYNAMIC_DISPATCH(AttendPart)(q, cache, kv_head, begin, end, scratch, sums, tops, weights);
}

size_t attend_part_scratch(int64_t heads, int64_t head_dim) {
  return (2 * kTilePositions + 2 * heads) * padded(head_dim);
}

void join_parts(int64_t parts, int64_t heads, int64_t head_dim, const float* sums,
                const float* tops, const float* weights, float* out) {
  for (int64_t h = 0; h < heads; ++h) {
    float top = tops[h];
    for (int64_t p = 1; p < parts; ++p) top = std::max(top, tops[p * heads + h]);
    float total = 0.0f;
    float* to = out + h * head_dim;
    std::fill_n(to, head_dim, 0.0f);
    for (int64_t p = 0; p < parts; ++p) {
      const float keep = std::exp(tops[p * heads + h] - top);
      const float* from = sums + (p * heads + h) * head_dim;
      total += keep * weights[p * heads + h];
      for (int64_t i = 0; i < head_dim; ++i) to[i] += keep * from[i];
    }
    for (int64_t i = 0; i < head_dim; ++i) to[i] /= total;
  }
}

void attend_tokens(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                   float* out, int64_t out_stride) {
  HWY_DYNAMIC_DISPATCH(AttendTokens)(q, cache, kv_head, scratch, out, out_stride);
}

void attend_tokens_in_tiles(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                            float* out, int64_t out_stride) {
  HWY_DYNAMIC_DISPATCH(AttendTokensInTiles)(q, cache, kv_head, scratch, out, out_stride);
}

// In tiles each number of keys, values, weights and queries is held once more, as two of 2 bytes;
// heads are then padded to 32.
size_t attend_tokens_scratch(int64_t tokens, int64_t heads, int64_t head_dim) {
  const int64_t blocks = (tokens * heads + kLaneQueries - 1) / kLaneQueries;
  const int64_t wider = padded(head_dim) + 16;
  return 2 * (2 * kTilePositions + 2 * blocks * kLaneQueries) * wider +
         2 * kTilePositions * kLaneQueries;
}

}  // namespace dinfer::cpu
#endif  // HWY_ONCE
