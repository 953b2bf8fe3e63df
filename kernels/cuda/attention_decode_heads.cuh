#pragma once

#include "kernels/cuda/attention_cache.cuh"

// What a thread block of attention_decode.cu works on, and how it prepares the heads of its token.
namespace dinfer::cuda::decode {

constexpr int kWarps = 4;
constexpr int kHeads = 16;  // query heads of one tile
constexpr int kPage = 16;   // tokens

// Of keys, or values.
template <class T, int kDim>
constexpr int page_bytes() {
  return kPage * TileRow<T, kDim>::kBytes;
}

// Shared memory where a warp has `kStages` pages on their way.
template <class T, int kDim, int kStages>
struct Layout {
  static constexpr int kPageBytes = page_bytes<T, kDim>();
  static constexpr int kRing = kWarps * kStages * 2 * kPageBytes;
  static constexpr int kQueries = kRing;                        // [kHeads, kDim] f16
  static constexpr int kNewKey = kQueries + kHeads * kDim * 2;  // a page of the token itself
  static constexpr int kNewValue = kNewKey + kPageBytes;
  static constexpr int kScratch = kNewValue + kPageBytes;  // [kWarps, kDim] f32
  static constexpr int kBytes = kScratch + kWarps * kDim * 4;
  // Over all of that, once it has been read:
  static constexpr int kSums = 0;                                   // [kWarps, kHeads, kDim] f32
  static constexpr int kTops = kSums + kWarps * kHeads * kDim * 4;  // [kWarps, kHeads]
  static constexpr int kWeights = kTops + kWarps * kHeads * 4;      // [kWarps, kHeads]
  static_assert(kWeights + kWarps * kHeads * 4 <= kBytes);
};

// Which query heads a block has: `count` from `first` on, that share `kv_head`.
struct HeadTile {
  int kv_head;
  int first;
  int count;
  bool appends;  // writes the token's key and value to the cache
};

__device__ inline HeadTile head_tile(const Attention& a, int index) {
  const int group = a.heads / a.kv_heads;
  const int tiles = (group + kHeads - 1) / kHeads;
  const int kv_head = index / tiles, tile = index % tiles;
  return {kv_head, kv_head * group + tile * kHeads, min(kHeads, group - tile * kHeads), tile == 0};
}

// What a warp prepares: a query head of the tile, or the token's own key or value. All that it
// takes from memory is asked for at once: it is what the block waits for.
template <int kDim>
struct Head {
  static constexpr int kEach = kDim / 32;
  float values[kEach];  // columns lane + 32 j
  float norms[kEach];
  float cosines[kEach / 2], sines[kEach / 2];  // pairs lane + 32 j

  __device__ void load(const Attention& a, const float* from, const float* norm,
                       const Rotation& rotation, int position, int lane) {
    const int64_t angle = static_cast<int64_t>(position) * a.half;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int c = lane + 32 * j;
      values[j] = c < a.head_dim ? from[c] : 0.0f;
      norms[j] = norm && c < a.head_dim ? norm[c] : 1.0f;
    }
#pragma unroll
    for (int j = 0; j < kEach / 2; ++j) {
      const int i = lane + 32 * j;
      cosines[j] = i < a.half ? rotation.cosine[angle + i] : 1.0f;
      sines[j] = i < a.half ? rotation.sine[angle + i] : 0.0f;
    }
  }

  // Normed where `normed`, times `factor`, rotated where `rotated`: store(column, value) gets each
  // value once. `scratch`: [kDim], the warp's.
  template <class Store>
  __device__ void finish(const Attention& a, bool normed, bool rotated, float factor, int lane,
                         float* scratch, const Store& store) {
    if (normed) {
      float squares = 0.0f;
#pragma unroll
      for (int j = 0; j < kEach; ++j) squares += values[j] * values[j];
      factor *= rsqrtf(warp_sum(squares) / static_cast<float>(a.head_dim) + a.epsilon);
    }
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      values[j] *= factor * norms[j];
      scratch[lane + 32 * j] = values[j];
    }
    __syncwarp();
    const int half = rotated ? a.half : 0;
#pragma unroll
    for (int j = 0; j < kEach / 2; ++j) {
      const int i = lane + 32 * j;
      if (i >= half) continue;
      const float x = scratch[i], y = scratch[i + half];
      store(i, x * cosines[j] - y * sines[j]);
      store(i + half, y * cosines[j] + x * sines[j]);
    }
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int c = lane + 32 * j;
      if (c >= 2 * half && c < a.head_dim) store(c, values[j]);
    }
    __syncwarp();
  }
};

// Queries, and in the last part the token's own key and value, into shared memory and the cache.
// Warps take them in turn, two at a time. L: where shared memory has what.
template <class T, int kDim, class L>
class TokenHeads {
 public:
  __device__ TokenHeads(const Attention& a, const DecodePart& part, const HeadTile& tile, int warp,
                        int lane)
      : a_(a),
        part_(part),
        tile_(tile),
        row_(a.qkv + part.row * static_cast<int64_t>(a.heads + 2 * a.kv_heads) * a.head_dim),
        count_(tile.count + (part.part + 1 == part.parts ? 2 : 0)),
        next_(warp),
        lane_(lane) {
    load();
  }

  // `cached`: where the token's key and value belong in the cache.
  __device__ void finish(int64_t cached, std::byte* shared, float* scratch) {
    for (; next_ < count_; next_ += 2 * kWarps, load()) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        if (next_ + i * kWarps < count_) {
          finish_head(heads_[i], next_ + i * kWarps, cached, shared, scratch);
        }
      }
    }
  }

 private:
  __device__ void load() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int index = next_ + i * kWarps;
      if (index >= count_) continue;
      const int key = index - tile_.count;  // 0: the key, 1: the value
      const int head = key < 0    ? tile_.first + index
                       : key == 0 ? a_.heads + tile_.kv_head
                                  : a_.heads + a_.kv_heads + tile_.kv_head;
      const float* norm = key < 0 ? a_.q_norm : key == 0 ? a_.k_norm : nullptr;
      heads_[i].load(a_, row_ + static_cast<int64_t>(head) * a_.head_dim, norm,
                     a_.rotations[part_.rotation], part_.position, lane_);
    }
  }

  __device__ void finish_head(Head<kDim>& head, int index, int64_t cached, std::byte* shared,
                              float* scratch) {
    const int key = index - tile_.count;
    if (key < 0) {
      head.finish(a_, a_.q_norm, true, a_.scale * kLog2E, lane_, scratch, [&](int i, float v) {
        tile_store<__half, kDim>(shared + L::kQueries, index, query_column<T>(i), v);
      });
      return;
    }
    auto* cache = static_cast<T*>(key == 0 ? a_.keys : a_.values) + cached;
    std::byte* page = shared + (key == 0 ? L::kNewKey : L::kNewValue);
    head.finish(a_, key == 0 && a_.k_norm, key == 0, 1.0f, lane_, scratch, [&](int i, float v) {
      tile_store<T, kDim>(page, 0, i, v);
      if (tile_.appends) cache[i] = to_cache<T>(v);
    });
  }

  const Attention& a_;
  const DecodePart& part_;
  const HeadTile& tile_;
  const float* row_;
  int count_, next_, lane_;
  Head<kDim> heads_[2];
};

}  // namespace dinfer::cuda::decode
