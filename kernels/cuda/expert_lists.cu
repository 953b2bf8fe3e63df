#include "kernels/cuda/expert_lists.h"

#include <climits>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/experts.h"

namespace dinfer::cuda {
namespace {

constexpr int kScoreWarps = 8;
constexpr int kFewScoredRows =
    64;  // up to which blocks of 4 rows and experts score, else 8 of each

constexpr int kChooseThreads = 128;
constexpr int kListThreads = 1024, kListWarps = kListThreads / 32;
constexpr int kAloneRows = 2 * kListWarps;  // up to which one block chooses and lists
static_assert(kMostExperts <= kListThreads && kMostExperts <= 32 * 32);

__device__ float4 quad(const float* from) { return *reinterpret_cast<const float4*>(from); }

__device__ float4 quad(const __nv_bfloat16* from) {
  const uint2 bits = *reinterpret_cast<const uint2*>(from);
  const float2 low = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.x));
  const float2 high = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.y));
  return {low.x, low.y, high.x, high.y};
}

__device__ float4 quad(const __half* from) {
  const uint2 bits = *reinterpret_cast<const uint2*>(from);
  const float2 low = __half22float2(*reinterpret_cast<const __half2*>(&bits.x));
  const float2 high = __half22float2(*reinterpret_cast<const __half2*>(&bits.y));
  return {low.x, low.y, high.x, high.y};
}

// Columns c .. c + 3 of `columns`; zeros past them.
template <bool kAligned>
__device__ float4 quad(const float* x, int c, int columns) {
  if constexpr (kAligned) return quad(x + c);
  const auto one = [&](int i) { return i < columns ? x[i] : 0.0f; };
  return {one(c), one(c + 1), one(c + 2), one(c + 3)};
}

__device__ float dot(const float4& a, const float4& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

__device__ float sum_over_warp(float value) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  return value;
}

// A block takes kExperts experts and kRows rows, of which each warp has a part of the columns.
// Aligned: rows are of a multiple of 4 values.
template <class Value, int kRows, int kExperts, bool kAligned>
__global__ void __launch_bounds__(32 * kScoreWarps)
    score(const __grid_constant__ Routing r, int64_t stride) {
  constexpr int kSums = kRows * (kExperts + 1);  // scores and squares
  __shared__ float of_warp[kScoreWarps][kSums];
  let_successor_start();
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int first_expert = static_cast<int>(blockIdx.x) * kExperts;
  const int first_row = static_cast<int>(blockIdx.y) * kRows;
  const Value* weights[kExperts];
#pragma unroll
  for (int e = 0; e < kExperts; ++e) {
    weights[e] = reinterpret_cast<const Value*>(r.router.data) +
                 min(first_expert + e, r.experts - 1) * stride;
    constexpr int kLine = 128 / static_cast<int>(sizeof(Value));
    if (kLine * thread < r.hidden) {
      asm volatile("prefetch.global.L2 [%0];" ::"l"(weights[e] + kLine * thread));
    }
  }
  wait_for_predecessor();
  const float* rows[kRows];
#pragma unroll
  for (int i = 0; i < kRows; ++i)
    rows[i] = r.in + int64_t{min(first_row + i, r.rows - 1)} * r.hidden;
  float sums[kRows][kExperts + 1] = {};
#pragma unroll 2
  for (int c = 4 * thread; c < r.hidden; c += 4 * 32 * kScoreWarps) {
    const float4 n = quad<kAligned>(r.norm, c, r.hidden);
    float4 w[kExperts];
#pragma unroll
    for (int e = 0; e < kExperts; ++e) w[e] = quad(weights[e] + c);
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const float4 x = quad<kAligned>(rows[i], c, r.hidden);
      sums[i][kExperts] += dot(x, x);
      const float4 scaled = {x.x * n.x, x.y * n.y, x.z * n.z, x.w * n.w};
#pragma unroll
      for (int e = 0; e < kExperts; ++e) sums[i][e] += dot(scaled, w[e]);
    }
  }
#pragma unroll
  for (int i = 0; i < kSums; ++i) {
    const float sum = sum_over_warp(sums[i / (kExperts + 1)][i % (kExperts + 1)]);
    if (lane == 0) of_warp[warp][i] = sum;
  }
  __syncthreads();
  const int i = thread / kExperts, e = thread % kExperts;
  if (i >= kRows || first_row + i >= r.rows || first_expert + e >= r.experts) return;
  float sum = 0.0f, squares = 0.0f;
#pragma unroll
  for (int w = 0; w < kScoreWarps; ++w) {
    sum += of_warp[w][i * (kExperts + 1) + e];
    squares += of_warp[w][i * (kExperts + 1) + kExperts];
  }
  r.scores[int64_t{first_row + i} * r.experts + first_expert + e] =
      sum * rsqrtf(squares / static_cast<float>(r.hidden) + r.epsilon);
}

// Scores as numbers that are in the same order; 0 is less than any. What is no number comes last.
__device__ uint32_t key_of(float score) {
  const float value = score > -INFINITY ? score + 0.0f : -INFINITY;  // -0 is 0
  const uint32_t bits = __float_as_uint(value);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ float score_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// A warp's choice for one row, of up to 32 * kLaneExperts experts.
template <int kLaneExperts>
__device__ void choose(const Routing& r, ExpertLists lists, int row) {
  const int lane = threadIdx.x % 32;
  const float* scores = r.scores + int64_t{row} * r.experts;
  uint32_t keys[kLaneExperts];  // of experts lane, 32 + lane, ...
  uint32_t largest = 0;
#pragma unroll
  for (int i = 0; i < kLaneExperts; ++i) {
    keys[i] = 32 * i + lane < r.experts ? key_of(scores[32 * i + lane]) : 0;
    largest = max(largest, keys[i]);
  }
  const float highest = score_of(__reduce_max_sync(~0u, largest));
  const float top = highest > -INFINITY ? highest : 0.0f;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kLaneExperts; ++i) {
    if (keys[i] > 0) sum += expf(score_of(keys[i]) - top);
  }
  sum = sum_over_warp(sum);

  float sum_of_chosen = 0.0f;
  lists.experts += row * r.chosen;
  lists.weights += row * r.chosen;
#pragma unroll 1
  for (int place = 0; place < r.chosen; ++place) {
    uint32_t best = 0;
#pragma unroll
    for (int i = 0; i < kLaneExperts; ++i) best = max(best, keys[i]);
    best = __reduce_max_sync(~0u, best);
    int own = INT_MAX;
#pragma unroll
    for (int i = kLaneExperts - 1; i >= 0; --i) own = keys[i] == best ? 32 * i + lane : own;
    const int expert = __reduce_min_sync(~0u, own);
#pragma unroll
    for (int i = 0; i < kLaneExperts; ++i) keys[i] = 32 * i + lane == expert ? 0 : keys[i];
    const float p = expf(score_of(best) - top);
    sum_of_chosen += p;
    if (place % 32 == lane) lists.experts[place] = expert, lists.weights[place] = p;
  }
  for (int place = lane; place < r.chosen; place += 32) {
    lists.weights[place] /= r.normalized ? sum_of_chosen : sum;
  }
}

__device__ void choose(const Routing& r, const ExpertLists& lists, int row) {
  if (r.experts <= 128) return choose<4>(r, lists, row);
  choose<kMostExperts / 32>(r, lists, row);
}

// Sums over the threads before this one.
__device__ int2 sums_before(int2 own) {
  __shared__ int2 of_warp[kListWarps];
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32;
  int2 sum = own;
  for (int step = 1; step < 32; step *= 2) {
    const int x = __shfl_up_sync(~0u, sum.x, step), y = __shfl_up_sync(~0u, sum.y, step);
    if (lane >= step) sum.x += x, sum.y += y;
  }
  if (lane == 31) of_warp[warp] = sum;
  __syncthreads();
  for (int w = 0; w < warp; ++w) sum.x += of_warp[w].x, sum.y += of_warp[w].y;
  return {sum.x - own.x, sum.y - own.y};
}

// A block orders the slots by counting: each warp takes a run of them. `counts`: [kListWarps,
// experts] in shared memory, then [experts].
__device__ void list(const Routing& r, const ExpertLists& lists, int* counts) {
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32;
  const int slots = r.rows * r.chosen;
  const int warps = min((slots + 31) / 32, kListWarps);
  const int run = (slots + kListThreads - 1) / kListThreads * 32;
  const int begin = thread / 32 * run, end = min(begin + run, slots);
  int* own = counts + thread / 32 * r.experts;
  int* starts = counts + kListWarps * r.experts;
  for (int i = thread; i < warps * r.experts; i += kListThreads) counts[i] = 0;
  __syncthreads();
  for (int i = begin + lane; i < end; i += 32) atomicAdd(&own[lists.experts[i]], 1);
  __syncthreads();

  // Of each expert, where each warp's slots begin among its own.
  int count = 0;
  if (thread < r.experts) {
#pragma unroll 4
    for (int w = 0; w < warps; ++w) {
      int& of_warp = counts[w * r.experts + thread];
      const int before = count;
      count += of_warp;
      of_warp = before;
    }
  }
  const int tiles = (count + r.tile_rows - 1) / r.tile_rows;
  const int2 before = sums_before({count, tiles});
  if (thread < r.experts) {
    starts[thread] = before.x;
    for (int i = 0; i < tiles; ++i) {
      lists.tiles[before.y + i] = {thread, before.x + i * r.tile_rows,
                                   min(r.tile_rows, count - i * r.tile_rows)};
    }
  }
  if (thread == r.experts - 1) *lists.tile_count = before.y + tiles;
  __syncthreads();

  for (int first = begin; first < end; first += 32) {
    const int slot = first + lane;
    const int expert = slot < end ? lists.experts[slot] : -1;
    const uint32_t same = __match_any_sync(~0u, expert);
    const int rank = __popc(same & ((1u << lane) - 1));
    if (expert >= 0) lists.slots[starts[expert] + own[expert] + rank] = slot;
    __syncwarp();
    if (expert >= 0 && rank == 0) own[expert] += __popc(same);
    __syncwarp();
  }
}

__global__ void __launch_bounds__(kChooseThreads)
    choose_rows(const __grid_constant__ Routing r, const ExpertLists lists) {
  let_successor_start();
  wait_for_predecessor();
  const int row = static_cast<int>(blockIdx.x * kChooseThreads + threadIdx.x) / 32;
  if (row < r.rows) choose(r, lists, row);
}

// Of one row, each expert has a slot: as they were chosen.
__device__ void list_row(const Routing& r, const ExpertLists& lists) {
  for (int place = static_cast<int>(threadIdx.x); place < r.chosen; place += kListThreads) {
    lists.slots[place] = place;
    lists.tiles[place] = {lists.experts[place], place, 1};
  }
  if (threadIdx.x == 0) *lists.tile_count = r.chosen;
}

__device__ void put(float* to, float value) { *to = value; }
__device__ void put(__nv_bfloat16* to, float value) { *to = __float2bfloat16_rn(value); }
__device__ void put(__half* to, float value) {
  *to = __float2half_rn(fminf(fmaxf(value, -65504.0f), 65504.0f));
}

// A block makes the inputs of one row.
template <class Input>
__device__ void make_inputs(const Routing& r, int row) {
  __shared__ float of_warp[kListWarps];
  const int thread = static_cast<int>(threadIdx.x);
  const float* x = r.in + int64_t{row} * r.hidden;
  float squares = 0.0f;
  for (int c = thread; c < r.hidden; c += kListThreads) squares += x[c] * x[c];
  squares = sum_over_warp(squares);
  if (thread % 32 == 0) of_warp[thread / 32] = squares;
  __syncthreads();
  const float mean = sum_over_warp(of_warp[thread % 32]) / static_cast<float>(r.hidden);
  const float inverse = rsqrtf(mean + r.epsilon);
  auto* to = static_cast<Input*>(r.inputs) + int64_t{row} * r.input_width;
  for (int c = thread; c < r.input_width; c += kListThreads) {
    put(to + c, c < r.hidden ? x[c] * inverse * r.norm[c] : 0.0f);
  }
}

// The first block lists, and with few rows chooses before; each other makes the inputs of a row.
template <class Input>
__global__ void __launch_bounds__(kListThreads)
    list_slots(const __grid_constant__ Routing r, const ExpertLists lists, bool chooses) {
  extern __shared__ int counts[];
  let_successor_start();
  wait_for_predecessor();
  if (blockIdx.x > 0) return make_inputs<Input>(r, static_cast<int>(blockIdx.x) - 1);
  if (chooses) {
    for (int row = static_cast<int>(threadIdx.x) / 32; row < r.rows; row += kListWarps) {
      choose(r, lists, row);
    }
    __syncthreads();
  }
  if (r.rows == 1) return list_row(r, lists);
  list(r, lists, counts);
}

template <class Value, int kRows, int kExperts>
void score_rows(const Stream& stream, const Routing& r) {
  const dim3 grid((r.experts + kExperts - 1) / kExperts, (r.rows + kRows - 1) / kRows);
  const bool aligned = r.hidden % 4 == 0;
  launch(stream,
         aligned ? score<Value, kRows, kExperts, true> : score<Value, kRows, kExperts, false>, grid,
         32 * kScoreWarps, 0, r, r.router.padded_columns());
}

template <class Value>
void score_rows(const Stream& stream, const Routing& r) {
  if (r.rows == 1) return score_rows<Value, 1, 4>(stream, r);
  if (r.rows <= kFewScoredRows) return score_rows<Value, 4, 4>(stream, r);
  score_rows<Value, 8, 8>(stream, r);
}

template <class Input>
void list_and_prepare(const Stream& stream, const Routing& r, const ExpertLists& lists,
                      bool chooses) {
  launch(stream, list_slots<Input>, 1 + r.rows, kListThreads,
         (kListWarps + 1) * r.experts * sizeof(int), r, lists, chooses);
}

}  // namespace

void route(const Stream& stream, const Routing& r, const ExpertLists& lists) {
  if (r.router.packing == Packing::f32) {
    score_rows<float>(stream, r);
  } else if (r.router.packing == Packing::bf16) {
    score_rows<__nv_bfloat16>(stream, r);
  } else {
    score_rows<__half>(stream, r);
  }
  const bool alone = r.rows <= kAloneRows;
  if (!alone) {
    constexpr int kRows = kChooseThreads / 32;
    launch(stream, choose_rows, (r.rows + kRows - 1) / kRows, kChooseThreads, 0, r, lists);
  }
  if (r.input_type == Packing::f32) return list_and_prepare<float>(stream, r, lists, alone);
  if (r.input_type == Packing::bf16)
    return list_and_prepare<__nv_bfloat16>(stream, r, lists, alone);
  list_and_prepare<__half>(stream, r, lists, alone);
}

}  // namespace dinfer::cuda
