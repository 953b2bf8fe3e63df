#include "kernels/cuda/attention_cache.cuh"
#include "kernels/cuda/attention_prompt.h"

// Attention of chunks of several tokens. First each token's heads are normed and rotated and its
// keys and values go to the cache; then each thread block takes a tile of tokens with all query
// heads of one KV head and goes over the positions that they see, in tiles that its warps share.
// (FlashAttention: Dao, Fu, Ermon, Rudra, Re, https://arxiv.org/abs/2205.14135; the order of loops
// is that of FlashAttention-2, https://arxiv.org/abs/2307.08691)
namespace dinfer::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * 32;
constexpr int kRows = kWarps * 16;
constexpr int kKeys = 64;  // positions of the cache that are taken at a time
static_assert(kRows == kPromptRows && kPromptRows >= kMostGroup);

constexpr int kPrepareThreads = 256;

// A block a token, whose row comes to shared memory first; a warp a head at a time. Prepared
// queries replace the first halves of theirs in `qkv`, as f16 in the order of query_column().
template <class T>
__global__ void __launch_bounds__(kPrepareThreads)
    prepare_kernel(const AttentionStep step, const Attention a) {
  extern __shared__ __align__(16) float row[];
  let_successor_start();
  wait_for_predecessor();
  const PromptRow token = step.prompt_rows[blockIdx.x];
  const int heads = a.heads + 2 * a.kv_heads, width = heads * a.head_dim;
  float* from = a.qkv + static_cast<int64_t>(token.row) * width;
#pragma unroll 4
  for (int i = 4 * static_cast<int>(threadIdx.x); i < width; i += 4 * kPrepareThreads) {
    *reinterpret_cast<float4*>(row + i) = *reinterpret_cast<const float4*>(from + i);
  }
  __syncthreads();
  const int32_t* table = step.blocks + token.first_block;
  const Rotation& rotation = a.rotations[token.rotation];
  const int lane = threadIdx.x % 32;
  for (int head = static_cast<int>(threadIdx.x) / 32; head < heads; head += kPrepareThreads / 32) {
    const float* in = row + head * a.head_dim;
    if (head >= a.heads + a.kv_heads) {
      T* value =
          static_cast<T*>(a.values) + cached(a, table, head - a.heads - a.kv_heads, token.position);
      for (int i = lane; i < a.head_dim; i += 32) value[i] = to_cache<T>(in[i]);
    } else if (head >= a.heads) {
      T* key = static_cast<T*>(a.keys) + cached(a, table, head - a.heads, token.position);
      prepare_head(a, in, a.k_norm, rotation, token.position, 1.0f, lane,
                   [&](int i, float v) { key[i] = to_cache<T>(v); });
    } else {
      auto* query = reinterpret_cast<__half*>(from + head * a.head_dim);
      prepare_head(a, in, a.q_norm, rotation, token.position, a.scale * kLog2E, lane,
                   [&](int i, float v) { query[query_column<T>(i)] = to_cache<__half>(v); });
    }
  }
}

// Of keys, or values, of kKeys positions.
template <class T, int kDim>
constexpr int tile_bytes() {
  return kKeys * TileRow<T, kDim>::kBytes;
}

// Shared memory.
template <class T, int kDim, int kStages>
struct Layout {
  static constexpr int kQueries = 0;                    // [kRows, kDim] f16
  static constexpr int kFirstStage = kRows * kDim * 2;  // each of keys and values
  static constexpr int kStageBytes = 2 * tile_bytes<T, kDim>();
  static constexpr int kBytes = kFirstStage + kStages * kStageBytes;
};

// Keys and values of positions [at, at + kKeys), those before `end`, into shared memory.
template <class T, int kDim>
__device__ void load_positions(const Attention& a, const int32_t* table, int kv_head, int at,
                               int end, std::byte* keys) {
  constexpr int kPieces = TileRow<T, kDim>::kPieces, kPerPiece = TileRow<T, kDim>::kPerPiece;
  std::byte* values = keys + tile_bytes<T, kDim>();
  constexpr int kEach = kKeys * kPieces / kThreads;
#pragma unroll kDim <= 128 ? kEach : 4
  for (int i = 0; i < kEach; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int token = index / kPieces, piece = index % kPieces;
    const bool valid = at + token < end && piece * kPerPiece < a.head_dim;
    const int64_t from = valid ? cached(a, table, kv_head, at + token) + piece * kPerPiece : 0;
    const int offset = tile_offset<T, kDim>(token, piece);
    copy_async(keys + offset, static_cast<const T*>(a.keys) + from, valid);
    copy_async(values + offset, static_cast<const T*>(a.values) + from, valid);
  }
}

template <int kDim>
__device__ void load_queries(const Attention& a, const PromptTile& tile, int kv_head, int group,
                             std::byte* queries) {
  constexpr int kPieces = kDim / 8;
  const int64_t width = static_cast<int64_t>(a.heads + 2 * a.kv_heads) * a.head_dim;
#pragma unroll
  for (int i = 0; i < kRows * kPieces / kThreads; ++i) {
    const int index = i * kThreads + static_cast<int>(threadIdx.x);
    const int row = index / kPieces, piece = index % kPieces;
    const int token = row / group, head = kv_head * group + row % group;
    const bool valid = token < tile.tokens && piece * 8 < a.head_dim;
    const float* from =
        a.qkv + (tile.row + token) * width + static_cast<int64_t>(head) * a.head_dim;
    copy_async(queries + tile_offset<__half, kDim>(row, piece),
               valid ? reinterpret_cast<const __half*>(from) + piece * 8
                     : reinterpret_cast<const __half*>(a.qkv),
               valid);
  }
}

// What a warp has seen so far for its 16 rows: see attention_decode.cu.
template <int kDim>
struct Running {
  float top[2] = {-INFINITY, -INFINITY};
  float weight[2] = {0.0f, 0.0f};
  float sums[kDim / 8][4] = {};
};

// The scores of kKeys positions become weights; sums are scaled to the new tops.
template <int kDim>
__device__ void soften(Running<kDim>& run, float (&scores)[kKeys / 8][4]) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float top = -INFINITY;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n)
      top = fmaxf(top, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    const float now = fmaxf(run.top[half], quad_max(top));
    const float base = now == -INFINITY ? 0.0f : now;
    const float shrink = exp2f(run.top[half] - base);
    run.top[half] = now;
    float weight = run.weight[half] * shrink;
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = exp2f(scores[n][i] - base);
        weight += scores[n][i];
      }
    }
    run.weight[half] = weight;
#pragma unroll
    for (int n = 0; n < kDim / 8; ++n) {
      run.sums[n][2 * half] *= shrink;
      run.sums[n][2 * half + 1] *= shrink;
    }
  }
}

// A warp's 16 rows of queries: in registers, where there is room for them.
template <int kDim>
class Queries {
 public:
  __device__ void load(const std::byte* tile, int lane) {
    if constexpr (kHeld) {
#pragma unroll
      for (int step = 0; step < kDim / 16; ++step) held_[step] = load_left<kDim>(tile, step, lane);
    } else {
      tile_ = tile;
    }
  }

  __device__ Fragments4 step(int step, int lane) const {
    if constexpr (kHeld) return held_[step];
    return load_left<kDim>(tile_, step, lane);
  }

 private:
  static constexpr bool kHeld = kDim <= 128;
  Fragments4 held_[kHeld ? kDim / 16 : 1];
  const std::byte* tile_ = nullptr;
};

template <class T, int kDim>
__device__ void take_positions(Running<kDim>& run, const Queries<kDim>& queries,
                               const std::byte* keys, int at, const int (&first)[2],
                               const int (&last)[2], bool inside, int lane) {
  float scores[kKeys / 8][4] = {};
  // Wide heads leave no registers for loads ahead.
#pragma unroll kDim <= 128 ? kDim / 32 : 1
  for (int pair = 0; pair < kDim / 32; ++pair) {
    const Fragments4 left[2] = {queries.step(2 * pair, lane), queries.step(2 * pair + 1, lane)};
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      Fragments4 k[2];
      load_keys<T, kDim>(keys, n * 16, pair, lane, k);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_tile(scores[2 * n], left[i], k[i].r[0], k[i].r[1]);
        multiply_tile(scores[2 * n + 1], left[i], k[i].r[2], k[i].r[3]);
      }
    }
  }
  if (!inside) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int position = at + n * 8 + lane % 4 * 2 + i % 2;
        if (position < first[i / 2] || position > last[i / 2]) scores[n][i] = -INFINITY;
      }
    }
  }
  soften(run, scores);
  const std::byte* values = keys + tile_bytes<T, kDim>();
#pragma unroll
  for (int n = 0; n < kKeys / 16; ++n) {
    const Fragments4 weights{{pack_halves(scores[2 * n][0], scores[2 * n][1]),
                              pack_halves(scores[2 * n][2], scores[2 * n][3]),
                              pack_halves(scores[2 * n + 1][0], scores[2 * n + 1][1]),
                              pack_halves(scores[2 * n + 1][2], scores[2 * n + 1][3])}};
#pragma unroll
    for (int pair = 0; pair < kDim / 32; ++pair) {
      Fragments4 v[2];
      load_values<T, kDim>(values, n * 16, pair, lane, v);
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        multiply_tile(run.sums[4 * pair + 2 * i], weights, v[i].r[0], v[i].r[1]);
        multiply_tile(run.sums[4 * pair + 2 * i + 1], weights, v[i].r[2], v[i].r[3]);
      }
    }
  }
}

// With two stages, one is brought while the other is used.
template <class T, int kDim, int kStages>
__global__ void __launch_bounds__(kThreads)
    prompt_kernel(const AttentionStep step, const Attention a) {
  using L = Layout<T, kDim, kStages>;
  extern __shared__ __align__(128) std::byte shared[];
  let_successor_start();
  wait_for_predecessor();
  const PromptTile tile = step.tiles[blockIdx.y];
  const int kv_head = blockIdx.x, group = a.heads / a.kv_heads;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int32_t* table = step.blocks + tile.first_block;
  const int end = tile.position + tile.tokens;
  const int seen = a.window > 0 ? max(0, tile.position + 1 - a.window) : 0;
  const int begin = seen / kKeys * kKeys;
  const auto stage = [&](int i) { return shared + L::kFirstStage + i % kStages * L::kStageBytes; };
  const auto load = [&](int at, int i) {
    if (at < end) load_positions<T, kDim>(a, table, kv_head, at, end, stage(i));
    copy_async_commit();
  };

  load_queries<kDim>(a, tile, kv_head, group, shared + L::kQueries);
  load(begin, 0);

  // What the rows lane / 4 and lane / 4 + 8 of the warp see.
  int first[2], last[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int token = (warp * 16 + lane / 4 + 8 * half) / group;
    last[half] = tile.position + min(token, tile.tokens - 1);
    first[half] = a.window > 0 ? last[half] + 1 - a.window : 0;
  }
  const int warp_first = tile.position + min(warp * 16 / group, tile.tokens - 1);
  const int warp_last = tile.position + min((warp * 16 + 15) / group, tile.tokens - 1);

  Queries<kDim> queries;
  Running<kDim> run;
  for (int at = begin, i = 0; at < end; at += kKeys, ++i) {
    if constexpr (kStages == 2) load(at + kKeys, i + 1);
    copy_async_wait<kStages - 1>();
    __syncthreads();
    if (i == 0) queries.load(shared + L::kQueries + warp * 16 * kDim * 2, lane);
    if (at <= warp_last && (a.window == 0 || at + kKeys > warp_first + 1 - a.window)) {
      const bool inside =
          at + kKeys - 1 <= warp_first && (a.window == 0 || at >= warp_last + 1 - a.window);
      take_positions<T>(run, queries, stage(i), at, first, last, inside, lane);
    }
    __syncthreads();
    if constexpr (kStages == 1) load(at + kKeys, i + 1);
  }

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = warp * 16 + lane / 4 + 8 * half;
    const int token = row / group, head = kv_head * group + row % group;
    const float scale = 1.0f / quad_sum(run.weight[half]);
    if (token >= tile.tokens) continue;
    float* to = a.out + (static_cast<int64_t>(tile.row + token) * a.heads + head) * a.head_dim;
    for_columns<T, kDim>(run.sums, half, lane, [&](int column, float x, float y) {
      if (column < a.head_dim)
        *reinterpret_cast<float2*>(to + column) = make_float2(x * scale, y * scale);
    });
  }
}

template <class T, int kDim, int kStages>
void launch_tiles(const Stream& stream, const AttentionStep& step, const Attention& a) {
  launch(stream, prompt_kernel<T, kDim, kStages>, dim3(a.kv_heads, step.tile_count), dim3(kThreads),
         Layout<T, kDim, kStages>::kBytes, step, a);
}

bool by_warpgroups(const Stream& stream, int head_dim) {
  return stream.warpgroups && head_dim <= kMostHeadDimOfWarpgroups;
}

}  // namespace

int prompt_tile_tokens(const Stream& stream, int head_dim, int group) {
  return (by_warpgroups(stream, head_dim) ? kPromptRowsOfWarpgroups : kPromptRows) / group;
}

void attend_prompts(const Stream& stream, const AttentionStep& step, const Attention& a) {
  const size_t row_bytes = static_cast<size_t>(a.heads + 2 * a.kv_heads) * a.head_dim * 4;
  const auto prepare = a.type == KvType::f8 ? prepare_kernel<F8> : prepare_kernel<__half>;
  launch(stream, prepare, dim3(step.prompt_row_count), dim3(kPrepareThreads), row_bytes, step, a);
  if (by_warpgroups(stream, a.head_dim)) {
    return attend_prompts_by_warpgroups(stream, step, a);
  }
  for_heads(a, [&]<class T, int kDim>() {
    constexpr int kBytes = Layout<T, kDim, 2>::kBytes;
    if constexpr (kBytes > kLeastSharedMemory) {
      if (kBytes > stream.shared_memory) return launch_tiles<T, kDim, 1>(stream, step, a);
    }
    launch_tiles<T, kDim, 2>(stream, step, a);
  });
}

void attend(const Stream& stream, const AttentionStep& step, const Attention& attention) {
  if (step.most_parts > 0) attend_decode(stream, step, attention);
  if (step.tile_count > 0) attend_prompts(stream, step, attention);
}

}  // namespace dinfer::cuda
