#include "kernels/cuda/attention_decode_heads.cuh"

// Attention of tokens that are alone in their step, each over its sequence's context. A thread
// block takes one part of the context for one KV head, so that keys and values are read once for
// all query heads that share them; its warps take pages of 16 tokens in turn. Where a context has
// several parts, the block that arrives last puts them together, in their order.
// (Flash-decoding: Dao, Haziza, Massa, Sizov,
// https://crfm.stanford.edu/2023/10/12/flashdecoding.html)
namespace dinfer::cuda {
namespace {

using namespace decode;

// What a warp has seen so far: for rows lane / 4 and lane / 4 + 8 the greatest score, the sum of
// weights, and the weighted sum of values (columns 8 n + lane % 4 * 2 + {0, 1}).
template <int kDim>
struct Running {
  float top[2] = {-INFINITY, -INFINITY};
  float weight[2] = {0.0f, 0.0f};
  float sums[kDim / 8][4] = {};
};

// Takes in one page; tokens outside [first, last) of it do not count.
template <class T, int kDim>
__device__ void take_page(Running<kDim>& run, const Fragments4 (&queries)[kDim / 16],
                          const std::byte* keys, const std::byte* values, int first, int last,
                          int lane) {
  float scores[2][4] = {};
#pragma unroll
  for (int pair = 0; pair < kDim / 32; ++pair) {
    Fragments4 k[2];
    load_keys<T, kDim>(keys, 0, pair, lane, k);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      multiply_tile(scores[0], queries[2 * pair + i], k[i].r[0], k[i].r[1]);
      multiply_tile(scores[1], queries[2 * pair + i], k[i].r[2], k[i].r[3]);
    }
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = n * 8 + lane % 4 * 2 + i % 2;
      if (token < first || token >= last) scores[n][i] = -INFINITY;
    }
  }
  float shrink[2];
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float top = fmaxf(fmaxf(scores[0][2 * half], scores[0][2 * half + 1]),
                            fmaxf(scores[1][2 * half], scores[1][2 * half + 1]));
    const float now = fmaxf(run.top[half], quad_max(top));
    const float base = now == -INFINITY ? 0.0f : now;
    shrink[half] = exp2f(run.top[half] - base);
    run.top[half] = now;
    run.weight[half] *= shrink[half];
#pragma unroll
    for (int n = 0; n < 2; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = exp2f(scores[n][i] - base);
        run.weight[half] += scores[n][i];
      }
    }
  }
  const Fragments4 weights{
      {pack_halves(scores[0][0], scores[0][1]), pack_halves(scores[0][2], scores[0][3]),
       pack_halves(scores[1][0], scores[1][1]), pack_halves(scores[1][2], scores[1][3])}};
  const bool same = shrink[0] == 1.0f && shrink[1] == 1.0f;
  const bool rescale = !__all_sync(0xffffffffu, same);
#pragma unroll
  for (int pair = 0; pair < kDim / 32; ++pair) {
    Fragments4 v[2];
    load_values<T, kDim>(values, 0, pair, lane, v);
#pragma unroll
    for (int n = 0; n < 4; ++n) {
      float(&sum)[4] = run.sums[4 * pair + n];
      if (rescale) {
        sum[0] *= shrink[0];
        sum[1] *= shrink[0];
        sum[2] *= shrink[1];
        sum[3] *= shrink[1];
      }
      multiply_tile(sum, weights, v[n / 2].r[n % 2 * 2], v[n / 2].r[n % 2 * 2 + 1]);
    }
  }
}

// Pages of one warp on their way from the cache to shared memory.
template <class T, int kDim, int kStages>
class PageRing {
 public:
  // `first`: of this warp.
  __device__ PageRing(const Attention& a, const int32_t* table, int kv_head, int first, int end,
                      std::byte* ring, int lane)
      : a_(a), table_(table), kv_head_(kv_head), end_(end), lane_(lane), next_(first), ring_(ring) {
    for (int i = 0; i < kStages; ++i) load(i);
  }

  __device__ const std::byte* keys(int stage) const { return ring_ + stage * 2 * kBytes; }
  __device__ const std::byte* values(int stage) const { return keys(stage) + kBytes; }

  // Begins to load the next page of this warp into a stage. Groups are counted, so an empty one is
  // made where there is no page left.
  __device__ void load(int stage) {
    if (next_ < end_) {
      const int64_t at = cached(a_, table_, kv_head_, next_);
      const auto* k = static_cast<const T*>(a_.keys) + at;
      const auto* v = static_cast<const T*>(a_.values) + at;
      std::byte* to = ring_ + stage * 2 * kBytes;
#pragma unroll
      for (int i = 0; i < kPage * kPieces / 32; ++i) {
        const int token = (i * 32 + lane_) / kPieces, piece = (i * 32 + lane_) % kPieces;
        const bool valid = next_ + token < end_ && piece * kPerPiece < a_.head_dim;
        const int64_t from = valid ? token * a_.head_dim + piece * kPerPiece : 0;
        const int offset = tile_offset<T, kDim>(token, piece);
        copy_async(to + offset, k + from, valid);
        copy_async(to + kBytes + offset, v + from, valid);
      }
    }
    copy_async_commit();
    next_ += kWarps * kPage;
  }

 private:
  static constexpr int kBytes = page_bytes<T, kDim>();
  static constexpr int kPieces = TileRow<T, kDim>::kPieces;
  static constexpr int kPerPiece = TileRow<T, kDim>::kPerPiece;
  const Attention& a_;
  const int32_t* table_;
  int kv_head_, end_, lane_, next_;
  std::byte* ring_;
};

// A warp's sums, tops and weights, for the whole block to see.
template <class T, int kDim, class L>
__device__ void write_warp(const Running<kDim>& run, std::byte* shared, int warp, int lane) {
  auto* sums = reinterpret_cast<float*>(shared + L::kSums) + warp * kHeads * kDim;
  auto* tops = reinterpret_cast<float*>(shared + L::kTops) + warp * kHeads;
  auto* weights = reinterpret_cast<float*>(shared + L::kWeights) + warp * kHeads;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = lane / 4 + 8 * half;
    const float weight = quad_sum(run.weight[half]);
    if (lane % 4 == 0) {
      tops[row] = run.top[half];
      weights[row] = weight;
    }
    for_columns<T, kDim>(run.sums, half, lane, [&](int column, float x, float y) {
      *reinterpret_cast<float2*>(sums + row * kDim + column) = make_float2(x, y);
    });
  }
}

// Where a part leaves its results when there are several: [kHeads, kDim] sums, tops, weights.
template <int kDim>
__device__ float* partial(const AttentionStep& step, int part, int tiles, int tile) {
  return step.partials + (static_cast<int64_t>(part) * tiles + tile) * kHeads * (kDim + 2);
}

// Puts the warps' results together: into the output, or, where the token has several parts, into
// `to`.
template <int kDim, class L>
__device__ void join_warps(const Attention& a, const DecodePart& part, const HeadTile& tile,
                           const std::byte* shared, float* to) {
  const auto* sums = reinterpret_cast<const float*>(shared + L::kSums);
  const auto* tops = reinterpret_cast<const float*>(shared + L::kTops);
  const auto* weights = reinterpret_cast<const float*>(shared + L::kWeights);
  for (int i = threadIdx.x; i < tile.count * kDim / 4; i += kWarps * 32) {
    const int row = i / (kDim / 4), column = i % (kDim / 4) * 4;
    float top = tops[row];
#pragma unroll
    for (int w = 1; w < kWarps; ++w) top = fmaxf(top, tops[w * kHeads + row]);
    const float base = top == -INFINITY ? 0.0f : top;
    float4 sum{};
    float weight = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float factor = exp2f(tops[w * kHeads + row] - base);
      const auto v = *reinterpret_cast<const float4*>(sums + (w * kHeads + row) * kDim + column);
      sum = {sum.x + factor * v.x, sum.y + factor * v.y, sum.z + factor * v.z,
             sum.w + factor * v.w};
      weight += factor * weights[w * kHeads + row];
    }
    if (part.parts == 1) {
      if (column < a.head_dim) {
        const int64_t head = static_cast<int64_t>(part.row) * a.heads + tile.first + row;
        *reinterpret_cast<float4*>(a.out + head * a.head_dim + column) = {
            sum.x / weight, sum.y / weight, sum.z / weight, sum.w / weight};
      }
      continue;
    }
    reinterpret_cast<float4*>(to)[i] = sum;
    if (column == 0) {
      to[kHeads * kDim + row] = top;
      to[kHeads * (kDim + 1) + row] = weight;
    }
  }
}

// Puts the parts of one token together; by all threads of the block that arrived last. Loads of
// several parts are under way at a time.
template <int kDim>
__device__ void join_parts(const AttentionStep& step, const Attention& a, const DecodePart& part,
                           const HeadTile& tile, int first_part, int tiles, int tile_index) {
  const float* parts = partial<kDim>(step, first_part, tiles, tile_index);
  const int64_t stride = static_cast<int64_t>(tiles) * kHeads * (kDim + 2);
  for (int i = threadIdx.x; i < tile.count * kDim / 4; i += kWarps * 32) {
    const int row = i / (kDim / 4), column = i % (kDim / 4) * 4;
    const float* tops = parts + kHeads * kDim + row;
    float top = -INFINITY;
#pragma unroll 8
    for (int p = 0; p < part.parts; ++p) top = fmaxf(top, __ldcg(tops + p * stride));
    float4 sum{};
    float weight = 0.0f;
#pragma unroll 8
    for (int p = 0; p < part.parts; ++p) {
      const float factor = exp2f(__ldcg(tops + p * stride) - top);
      const float4 v = __ldcg(reinterpret_cast<const float4*>(parts + p * stride) + i);
      sum = {sum.x + factor * v.x, sum.y + factor * v.y, sum.z + factor * v.z,
             sum.w + factor * v.w};
      weight += factor * __ldcg(tops + p * stride + kHeads);
    }
    if (column < a.head_dim) {
      const int64_t head = static_cast<int64_t>(part.row) * a.heads + tile.first + row;
      *reinterpret_cast<float4*>(a.out + head * a.head_dim + column) = {
          sum.x / weight, sum.y / weight, sum.z / weight, sum.w / weight};
    }
  }
}

template <class T, int kDim, int kStages>
__global__ void __launch_bounds__(kWarps * 32)
    decode_kernel(const __grid_constant__ AttentionStep step, const __grid_constant__ Attention a) {
  using L = Layout<T, kDim, kStages>;
  extern __shared__ __align__(128) std::byte shared[];
  let_successor_start();
  const int index = blockIdx.y;
  const DecodePart part = step.parts[index];
  if (part.row < 0) return wait_for_predecessor();
  const HeadTile tile = head_tile(a, blockIdx.x);
  const int32_t* table = step.blocks + part.first_block;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  for (int i = threadIdx.x * 16; i < L::kBytes - L::kQueries; i += kWarps * 32 * 16)
    *reinterpret_cast<uint4*>(shared + L::kQueries + i) = make_uint4(0, 0, 0, 0);
  __syncthreads();
  wait_for_predecessor();
  TokenHeads<T, kDim, L> heads(a, part, tile, warp, lane);
  const int seen = a.window > 0 ? max(0, part.position + 1 - a.window) : 0;
  const int first = max(part.begin, seen / kPage * kPage) + warp * kPage;
  PageRing<T, kDim, kStages> ring(a, table, tile.kv_head, first, part.end,
                                  shared + warp * kStages * 2 * L::kPageBytes, lane);
  heads.finish(cached(a, table, tile.kv_head, part.position), shared,
               reinterpret_cast<float*>(shared + L::kScratch) + warp * kDim);
  __syncthreads();

  Fragments4 queries[kDim / 16];
#pragma unroll
  for (int s = 0; s < kDim / 16; ++s) queries[s] = load_left<kDim>(shared + L::kQueries, s, lane);
  Running<kDim> run;
  int stage = 0;
  for (int at = first; at < part.end; at += kWarps * kPage) {
    copy_async_wait<kStages - 1>();
    __syncwarp();
    take_page<T>(run, queries, ring.keys(stage), ring.values(stage), seen - at, part.end - at,
                 lane);
    __syncwarp();
    ring.load(stage);
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }
  if (part.part + 1 == part.parts && warp == kWarps - 1) {
    take_page<T>(run, queries, shared + L::kNewKey, shared + L::kNewValue, 0, 1, lane);
  }
  copy_async_wait<0>();
  __syncthreads();
  write_warp<T, kDim, L>(run, shared, warp, lane);
  __syncthreads();

  join_warps<kDim, L>(a, part, tile, shared, partial<kDim>(step, index, gridDim.x, blockIdx.x));
  if (part.parts == 1) return;

  __shared__ bool last;
  __threadfence();
  __syncthreads();
  const int first_part = index - part.part;
  int32_t* arrivals = step.arrivals + first_part * static_cast<int>(gridDim.x) + blockIdx.x;
  if (threadIdx.x == 0) {
    last = atomicAdd(arrivals, 1) + 1 == part.parts;
    if (last) *arrivals = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  join_parts<kDim>(step, a, part, tile, first_part, gridDim.x, blockIdx.x);
}

template <class T, int kDim, int kStages>
void launch_parts(const Stream& stream, const AttentionStep& step, const Attention& a, int tiles) {
  launch(stream, decode_kernel<T, kDim, kStages>, dim3(tiles, step.most_parts), dim3(kWarps * 32),
         Layout<T, kDim, kStages>::kBytes, step, a);
}

int head_tiles(int heads, int kv_heads) {
  return kv_heads * ((heads / kv_heads + kHeads - 1) / kHeads);
}

}  // namespace

int64_t decode_partial_floats(int64_t parts, int heads, int kv_heads, int head_dim) {
  return parts * head_tiles(heads, kv_heads) * kHeads * (padded_head_dim(head_dim) + 2);
}

int64_t decode_arrivals(int64_t parts, int heads, int kv_heads) {
  return parts * head_tiles(heads, kv_heads);
}

void attend_decode(const Stream& stream, const AttentionStep& step, const Attention& a) {
  const int tiles = head_tiles(a.heads, a.kv_heads);
  for_heads(a, [&]<class T, int kDim>() {
    constexpr int kStages = page_bytes<T, kDim>() > 4096 ? 2 : 3;
    constexpr int kBytes = Layout<T, kDim, kStages>::kBytes;
    if constexpr (kBytes > kLeastSharedMemory) {
      if (kBytes > stream.shared_memory)
        return launch_parts<T, kDim, kStages - 1>(stream, step, a, tiles);
    }
    launch_parts<T, kDim, kStages>(stream, step, a, tiles);
  });
}

}  // namespace dinfer::cuda
