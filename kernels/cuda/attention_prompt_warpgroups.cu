#include "kernels/cuda/attention_cache.cuh"
#include "kernels/cuda/attention_prompt.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/warpgroup_products.cuh"

// Tiles of prompts on warpgroups' products. Two warps bring keys and values of 128 positions
// at a time to shared memory, or, where they have to make f16 of f8, four; two warpgroups take 64
// of the tile's token-head pairs each. While a group's weights are multiplied with values, it makes
// weights of the next positions' scores. (FlashAttention-3: Shah, Bikshandi, Zhang, Thakkar,
// Ramani, Dao, https://arxiv.org/abs/2407.08608)
namespace dinfer::cuda {
namespace {

constexpr int kGroups = 2;  // that multiply
constexpr int kRows = 64 * kGroups;
static_assert(kRows == kPromptRowsOfWarpgroups);
constexpr int kThreads = (kGroups + 1) * kWarpgroup;
constexpr int kKeys = 128;         // positions that are taken at a time
constexpr int kRun = 16;           // positions that lie together in the cache for sure
constexpr int kStages = 2;         // of keys and of values
constexpr int kPanelColumns = 64;  // what a row of a swizzled panel holds
constexpr int kRowBytes = 2 * kPanelColumns;
constexpr int kPanelBytes = kKeys * kRowBytes;
static_assert(kRows == kKeys);

// The cache as rows of head_dim f16.
struct CacheMaps {
  TensorMap keys, values;
};

// Threads that bring f8 keys, and as many for values.
constexpr int kWideners = kWarpgroup / 2;

// Stages of keys or of values in shared memory, with their barriers.
template <int kDim>
struct Stages {
  static constexpr int kTileBytes = kDim / kPanelColumns * kPanelBytes;

  uint32_t tiles, barriers;

  __device__ uint32_t tile(uint32_t slot) const { return tiles + slot * kTileBytes; }
  __device__ uint32_t full(uint32_t slot) const { return barriers + 16 * slot; }
  __device__ uint32_t empty(uint32_t slot) const { return full(slot) + 8; }

  // `writers` threads fill a stage.
  __device__ void init(int writers) const {
    for (int slot = 0; slot < kStages; ++slot) {
      init_barrier(full(slot), writers);
      init_barrier(empty(slot), kGroups * kWarpgroup / 32);
    }
  }
};

// Shared memory: a tile of queries, stages of keys and values, aligned to 1024 bytes; barriers; two
// tiles of keys and two of values as f8, where they are that in the cache.
template <int kDim>
struct Layout {
  static constexpr int kTileBytes = Stages<kDim>::kTileBytes;
  static constexpr int kBarriers = (1 + 2 * kStages) * kTileBytes;
  static constexpr int kNarrow = kBarriers + 2 * kStages * 16;
  static constexpr int kNarrowBytes = 2 * kKeys * kDim;

  static constexpr int bytes(KvType type) {
    return kNarrow + (type == KvType::f8 ? 2 * kNarrowBytes : 0) + 1024;  // and for alignment
  }

  uint32_t queries;
  Stages<kDim> keys, values;
  uint32_t narrow_keys, narrow_values;

  __device__ explicit Layout(const void* shared)
      : queries((shared_address(shared) + 1023) & ~1023u),
        keys{queries + kTileBytes, queries + kBarriers},
        values{keys.tile(kStages), keys.full(kStages)},
        narrow_keys(queries + kNarrow),
        narrow_values(narrow_keys + kNarrowBytes) {}
};

// Positions that a tile takes: all that one of its tokens sees, from a multiple of kKeys.
struct Span {
  int begin, end;

  __device__ Span(const Attention& a, const PromptTile& tile)
      : begin((a.window > 0 ? max(0, tile.position + 1 - a.window) : 0) / kKeys * kKeys),
        end(tile.position + tile.tokens) {}
};

// A warp that copies keys or values: a lane takes a run of positions of each panel. Past the end it
// repeats the last run: what is not there must not be NaN.
template <int kDim>
__device__ void copy_positions(const Attention& a, const int32_t* table, int kv_head,
                               const Span& span, const TensorMap& map, const Stages<kDim>& to) {
  const int run = static_cast<int>(threadIdx.x) % 32;
  if (run >= kKeys / kRun) return;
  RingPlace ring;
  for (int at = span.begin; at < span.end; at += kKeys, ring.advance(kStages)) {
    const int position = min(at + run * kRun, (span.end - 1) / kRun * kRun);
    const int row = (table[position / a.block_size] * a.kv_heads + kv_head) * a.block_size +
                    position % a.block_size;
    wait(to.empty(ring.slot), ring.parity ^ 1);
    if (run == 0) arrive_and_expect(to.full(ring.slot), Stages<kDim>::kTileBytes);
    __syncwarp((1u << kKeys / kRun) - 1);
#pragma unroll
    for (int panel = 0; panel < kDim / kPanelColumns; ++panel) {
      copy_box(to.tile(ring.slot) + panel * kPanelBytes + run * kRun * kRowBytes, map,
               panel * kPanelColumns, row, to.full(ring.slot));
    }
  }
}

// Where the 16-byte piece `piece` of f16 of a row lies in a tile.
__device__ inline uint32_t piece_offset(int row, int piece) {
  return piece / 8 * kPanelBytes + row * kRowBytes + (piece ^ row) % 8 * 16;
}

__device__ inline void store_shared(uint32_t address, const uint4& v) {
  asm volatile("st.shared.v4.u32 [%0], {%1,%2,%3,%4};" ::"r"(address), "r"(v.x), "r"(v.y), "r"(v.z),
               "r"(v.w)
               : "memory");
}

// Which pieces of 16 numbers of a tile are one thread's, of kWideners: eight rows and four pieces
// of each go to a warp at a time, so that both reads and writes are even.
template <int kDim>
struct WidenedPiece {
  static constexpr int kEach = kKeys * kDim / 16 / kWideners;
  int row, piece;

  __device__ explicit WidenedPiece(int index) {
    constexpr int kAcross = kDim / 64;
    const int thread = static_cast<int>(threadIdx.x) % kWideners, lane = thread % 32;
    const int unit = index * kWideners / 32 + thread / 32;
    row = unit / kAcross * 8 + lane % 8;
    piece = unit % kAcross * 4 + lane / 8;
  }
};

// Two warps that bring keys or values from a cache of f8: as they are to one of two tiles in
// `narrow`, where each thread has places of its own, from there as f16 to the stages. Keys are
// ordered as queries (query_column). Past the end there are zeros.
template <int kDim, bool kOrdered>
__device__ void widen_positions(const Attention& a, const int32_t* table, int kv_head,
                                const Span& span, const F8* cache, uint32_t narrow,
                                const Stages<kDim>& to) {
  using Piece = WidenedPiece<kDim>;
  const auto place = [&](int at, int index) {
    const int odd = (at - span.begin) / kKeys % 2;
    return narrow + ((odd * Piece::kEach + index) * kWideners + threadIdx.x % kWideners) * 16;
  };
  const auto fetch = [&](int at) {
    if (at < span.end) {
#pragma unroll 4
      for (int i = 0; i < Piece::kEach; ++i) {
        const Piece own(i);
        const bool valid = at + own.row < span.end && own.piece * 16 < a.head_dim;
        const F8* from =
            valid ? cache + cached(a, table, kv_head, at + own.row) + own.piece * 16 : cache;
        copy_async(place(at, i), from, valid ? 16 : 0);
      }
    }
    commit_copies();
  };
  RingPlace ring;
  fetch(span.begin);
  for (int at = span.begin; at < span.end; at += kKeys, ring.advance(kStages)) {
    fetch(at + kKeys);
    wait_copies<1>();
    wait(to.empty(ring.slot), ring.parity ^ 1);
#pragma unroll 4
    for (int i = 0; i < Piece::kEach; ++i) {
      const Piece own(i);
      const uint4 numbers = load_shared(place(at, i));
      const HalfPairs x = widen(numbers.x), y = widen(numbers.y), z = widen(numbers.z),
                      w = widen(numbers.w);
      const uint32_t tile = to.tile(ring.slot);
      store_shared(
          tile + piece_offset(own.row, 2 * own.piece),
          kOrdered ? uint4{x.low, y.low, z.low, w.low} : uint4{x.low, x.high, y.low, y.high});
      store_shared(
          tile + piece_offset(own.row, 2 * own.piece + 1),
          kOrdered ? uint4{x.high, y.high, z.high, w.high} : uint4{z.low, z.high, w.low, w.high});
    }
    publish_shared();
    arrive(to.full(ring.slot));
  }
}

// A warpgroup's 64 rows of queries, by its threads.
template <int kDim>
__device__ void load_queries(const Attention& a, const PromptTile& tile, int kv_head, int group,
                             int first_row, uint32_t queries) {
  constexpr int kPieces = kDim / 8;
  const int64_t width = static_cast<int64_t>(a.heads + 2 * a.kv_heads) * a.head_dim;
#pragma unroll
  for (int i = 0; i < 64 * kPieces / kWarpgroup; ++i) {
    const int index = i * kWarpgroup + static_cast<int>(threadIdx.x) % kWarpgroup;
    const int row = first_row + index / kPieces, piece = index % kPieces;
    const int token = row / group, head = kv_head * group + row % group;
    uint4 v{};
    if (token < tile.tokens && piece * 8 < a.head_dim) {
      const float* from =
          a.qkv + (tile.row + token) * width + static_cast<int64_t>(head) * a.head_dim;
      v = reinterpret_cast<const uint4*>(from)[piece];
    }
    store_shared(queries + piece_offset(row, piece), v);
  }
  publish_shared();
  wait_barrier<1>(first_row / 64, kWarpgroup);
}

// What a thread knows of its rows g and g + 8 of a warp.
struct RowLimits {
  int first[2], last[2];       // positions that they see
  int inner_begin, inner_end;  // positions that all rows of the warpgroup see

  __device__ RowLimits(const Attention& a, const PromptTile& tile, int group, int first_row) {
    const auto last_of = [&](int row) { return tile.position + min(row / group, tile.tokens - 1); };
    const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      last[half] = last_of(first_row + thread / 32 * 16 + thread % 32 / 4 + 8 * half);
      first[half] = a.window > 0 ? last[half] + 1 - a.window : 0;
    }
    inner_end = last_of(first_row) + 1;
    inner_begin = a.window > 0 ? last_of(first_row + 63) + 1 - a.window : 0;
  }
};

// scores = queries * keys, begun.
template <int kDim>
__device__ __forceinline__ void start_scores(float (&scores)[kKeys / 2], uint32_t queries,
                                             uint32_t keys) {
  fence_products();
#pragma unroll
  for (int step = 0; step < kDim / 16; ++step) {
    const int at = step / 4 * kPanelBytes + step % 4 * 32;
    multiply_async(scores, swizzled_operand(queries + at), swizzled_operand(keys + at), step > 0);
  }
  commit_products();
}

// sums += weights * values, begun.
template <int kDim>
__device__ __forceinline__ void start_sums(float (&sums)[kDim / 2],
                                           const uint32_t (&weights)[kKeys / 16][4],
                                           uint32_t values) {
  fence_products();
#pragma unroll
  for (int step = 0; step < kKeys / 16; ++step) {
    multiply_async<Order::columns>(sums, weights[step],
                                   swizzled_operand(values + step * 16 * kRowBytes, kPanelBytes));
  }
  commit_products();
}

__device__ inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// What softmax needs of a row.
struct Running {
  float top = -INFINITY, weight = 0.0f, shrink = 0.0f;
};

// Scores of positions from `at` on become weights; `shrink` is what sums are to be scaled with.
__device__ __forceinline__ void soften(float (&scores)[kKeys / 2], Running& lower, Running& upper,
                                       const RowLimits& limits, int at) {
  if (at < limits.inner_begin || at + kKeys > limits.inner_end) {
#pragma unroll
    for (int i = 0; i < kKeys / 2; ++i) {
      const int position = at + i / 4 * 8 + static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
      const int first = i % 4 < 2 ? limits.first[0] : limits.first[1];
      const int last = i % 4 < 2 ? limits.last[0] : limits.last[1];
      const bool seen = static_cast<int>(position >= first) & static_cast<int>(position <= last);
      scores[i] = seen ? scores[i] : -INFINITY;
    }
  }
  float tops[2] = {-INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) tops[i % 4 / 2] = fmaxf(tops[i % 4 / 2], scores[i]);
  const float low_top = fmaxf(lower.top, quad_max(tops[0]));
  const float high_top = fmaxf(upper.top, quad_max(tops[1]));
  const float bases[2] = {low_top == -INFINITY ? 0.0f : low_top,
                          high_top == -INFINITY ? 0.0f : high_top};
  float weights[2] = {};
#pragma unroll
  for (int i = 0; i < kKeys / 2; ++i) {
    scores[i] = exp2_of(scores[i] - bases[i % 4 / 2]);
    weights[i % 4 / 2] += scores[i];
  }
  lower.shrink = exp2_of(lower.top - bases[0]);
  upper.shrink = exp2_of(upper.top - bases[1]);
  lower.top = low_top;
  upper.top = high_top;
  lower.weight = lower.weight * lower.shrink + weights[0];
  upper.weight = upper.weight * upper.shrink + weights[1];
}

// Weights as the left operand: what is column 2 t + i of 8 of the scores is so of the operand.
__device__ __forceinline__ void take_weights(const float (&scores)[kKeys / 2],
                                             uint32_t (&weights)[kKeys / 16][4]) {
#pragma unroll
  for (int i = 0; i < kKeys / 4; ++i) {
    weights[i / 4][i % 4] = pack_halves(scores[2 * i], scores[2 * i + 1]);
  }
}

// A warp has done with a stage.
__device__ inline void release(uint32_t empty) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(empty);
}

// A warpgroup's way through the positions with its 64 rows. While a tile's scores become weights,
// those of the tile before are multiplied with values.
template <int kDim>
__device__ __forceinline__ void sum_values(const Layout<kDim>& memory, const RowLimits& limits,
                                           uint32_t queries, const Span& span,
                                           float (&sums)[kDim / 2], Running& lower,
                                           Running& upper) {
  float scores[kKeys / 2];
#pragma unroll
  for (float& score : scores) score = 0.0f;
  uint32_t weights[kKeys / 16][4];
  RingPlace keys, values;
  wait(memory.keys.full(keys.slot), keys.parity);
  start_scores<kDim>(scores, queries, memory.keys.tile(keys.slot));
  wait_products<0>();
  fence_registers(scores);
  release(memory.keys.empty(keys.slot));
  keys.advance(kStages);
  soften(scores, lower, upper, limits, span.begin);
  take_weights(scores, weights);
#pragma unroll 1
  for (int at = span.begin + kKeys; at < span.end; at += kKeys) {
    wait(memory.keys.full(keys.slot), keys.parity);
    start_scores<kDim>(scores, queries, memory.keys.tile(keys.slot));
    wait(memory.values.full(values.slot), values.parity);
    start_sums<kDim>(sums, weights, memory.values.tile(values.slot));
    wait_products<1>();
    fence_registers(scores);
    release(memory.keys.empty(keys.slot));
    keys.advance(kStages);
    soften(scores, lower, upper, limits, at);
    wait_products<0>();
    fence_registers(sums);
    release(memory.values.empty(values.slot));
    values.advance(kStages);
#pragma unroll
    for (int i = 0; i < kDim / 2; ++i) sums[i] *= i % 4 < 2 ? lower.shrink : upper.shrink;
    take_weights(scores, weights);
  }
  wait(memory.values.full(values.slot), values.parity);
  start_sums<kDim>(sums, weights, memory.values.tile(values.slot));
  wait_products<0>();
  fence_registers(sums);
}

template <int kDim>
__device__ __forceinline__ void store_sums(const Attention& a, const PromptTile& tile, int kv_head,
                                           int group, int first_row, const float (&sums)[kDim / 2],
                                           const Running& lower, const Running& upper) {
  const int thread = static_cast<int>(threadIdx.x) % kWarpgroup;
  const float scales[2] = {1.0f / quad_sum(lower.weight), 1.0f / quad_sum(upper.weight)};
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = first_row + thread / 32 * 16 + thread % 32 / 4 + 8 * half;
    const int token = row / group, head = kv_head * group + row % group;
    if (token >= tile.tokens) continue;
    float* to = a.out + (static_cast<int64_t>(tile.row + token) * a.heads + head) * a.head_dim;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const int column = 8 * j + thread % 4 * 2;
      if (column >= a.head_dim) continue;
      *reinterpret_cast<float2*>(to + column) = make_float2(
          sums[4 * j + 2 * half] * scales[half], sums[4 * j + 2 * half + 1] * scales[half]);
    }
  }
}

// What the warps that do not multiply do. `maps`: of a cache of f16.
template <class T, int kDim>
__device__ __forceinline__ void bring_positions(const Attention& a, const int32_t* table,
                                                int kv_head, const Span& span,
                                                const CacheMaps& maps, const Layout<kDim>& memory) {
  const int warp = static_cast<int>(threadIdx.x) % kWarpgroup / 32;
  if constexpr (sizeof(T) == 1) {
    const auto *keys = static_cast<const F8*>(a.keys), *values = static_cast<const F8*>(a.values);
    if (warp < kWideners / 32) {
      widen_positions<kDim, true>(a, table, kv_head, span, keys, memory.narrow_keys, memory.keys);
    } else {
      widen_positions<kDim, false>(a, table, kv_head, span, values, memory.narrow_values,
                                   memory.values);
    }
  } else {
    publish_global();
    if (warp == 0) copy_positions<kDim>(a, table, kv_head, span, maps.keys, memory.keys);
    if (warp == 1) copy_positions<kDim>(a, table, kv_head, span, maps.values, memory.values);
  }
}

template <class T, int kDim>
__global__ void __launch_bounds__(kThreads, 1)
    attend_tiles(const AttentionStep step, const Attention a,
                 const __grid_constant__ CacheMaps maps) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ std::byte shared[];
  let_successor_start();
  const Layout<kDim> memory(shared);
  if (threadIdx.x == 0) {
    constexpr int kWriters = sizeof(T) == 1 ? kWideners : 1;
    memory.keys.init(kWriters);
    memory.values.init(kWriters);
    publish_barriers();
  }
  __syncthreads();
  wait_for_predecessor();
  const PromptTile tile = step.tiles[blockIdx.y];
  const int kv_head = static_cast<int>(blockIdx.x), group = a.heads / a.kv_heads;
  const Span span(a, tile);
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup;
  if (warpgroup == kGroups) {
    give_registers<sizeof(T) == 1 ? 72 : 40>();
    bring_positions<T>(a, step.blocks + tile.first_block, kv_head, span, maps, memory);
  } else {
    take_registers<sizeof(T) == 1 ? 216 : 232>();
    const int first_row = 64 * warpgroup;
    load_queries<kDim>(a, tile, kv_head, group, first_row, memory.queries);
    const RowLimits limits(a, tile, group, first_row);
    float sums[kDim / 2];
#pragma unroll
    for (float& sum : sums) sum = 0.0f;
    Running lower, upper;
    sum_values<kDim>(memory, limits, memory.queries + first_row * kRowBytes, span, sums, lower,
                     upper);
    store_sums<kDim>(a, tile, kv_head, group, first_row, sums, lower, upper);
  }
#endif
}

template <int kDim>
void launch_tiles(const Stream& stream, const AttentionStep& step, const Attention& a) {
  CacheMaps maps{};
  if (a.type == KvType::f16) {
    maps = {map_rows(a.keys, a.head_dim, kPanelColumns, kRun),
            map_rows(a.values, a.head_dim, kPanelColumns, kRun)};
  }
  const auto kernel = a.type == KvType::f8 ? attend_tiles<F8, kDim> : attend_tiles<__half, kDim>;
  launch(stream, kernel, dim3(a.kv_heads, step.tile_count), dim3(kThreads),
         Layout<kDim>::bytes(a.type), step, a, maps);
}

}  // namespace

void attend_prompts_by_warpgroups(const Stream& stream, const AttentionStep& step,
                                  const Attention& a) {
  if (a.head_dim <= 64) return launch_tiles<64>(stream, step, a);
  launch_tiles<128>(stream, step, a);
}

}  // namespace dinfer::cuda
