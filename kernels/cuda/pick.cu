#include "kernels/cuda/pick.h"

#include <cstring>

#include "base/random.h"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kSegments = 32;  // thread blocks of a row

// The better of two: the larger score, or value without noise; the lower id of equals.
struct Best {
  double score = -INFINITY;
  float value = 0.0f;
  int32_t id = -1;
};

__device__ void take(Best& best, const Best& other) {
  if (other.id < 0) return;
  if (best.id < 0 || other.score > best.score ||
      (other.score == best.score && other.id < best.id)) {
    best = other;
  }
}

struct alignas(16) Summary {
  Best best;
  double sum = 0.0;
  float top = -INFINITY;
  int32_t finite = 1;
};

__device__ void merge(Summary& into, const Summary& other) {
  take(into.best, other.best);
  const float top = fmaxf(into.top, other.top);
  if (into.sum + other.sum > 0.0) {
    into.sum = into.sum * exp(static_cast<double>(into.top) - top) +
               other.sum * exp(static_cast<double>(other.top) - top);
  }
  into.top = top;
  into.finite &= other.finite;
}

// Of the first kCount threads, in an order that does not change.
template <int kCount>
__device__ Summary merge_threads(const Summary& own, Summary* shared) {
  if (threadIdx.x < kCount) shared[threadIdx.x] = own;
  for (int half = kCount / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) merge(shared[threadIdx.x], shared[threadIdx.x + half]);
  }
  __syncthreads();
  return shared[0];
}

__device__ bool is_allowed(const Draw& draw, int32_t id) {
  if (draw.allowed == nullptr) return true;
  return id / 64 < draw.words && (draw.allowed[id / 64] >> (id % 64) & 1) != 0;
}

__device__ double gumbel(uint32_t word) { return -log(-log((word + 0.5) * 0x1p-32)); }

// What one thread sees: ids in fours, since a block of the generator's words serves four.
__device__ Summary summarize(const float* row, int64_t columns, int64_t begin, int64_t end,
                             int32_t first_id, const Draw& draw) {
  Summary own;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float value = row[i];
    own.top = fmaxf(own.top, value);
    own.finite &= fabsf(value) <= 3.402823466e38f;
  }
  // The sum's exponents are small where it has the greatest of the thread's values as its base.
  TokenNoise noise(draw.seed, draw.stream, draw.position);
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    const float value = row[i];
    const auto id = first_id + static_cast<int32_t>(i);
    if (draw.sums) own.sum += static_cast<double>(expf(value - own.top));
    if (!is_allowed(draw, id)) continue;
    const double score = draw.temperature > 0.0f ? static_cast<double>(value) / draw.temperature +
                                                       gumbel(noise.word(id))
                                                 : static_cast<double>(value);
    take(own.best, {score, value, id});
  }
  return own;
}

struct Workspace {
  Summary* parts;     // [rows, kSegments]
  int32_t* arrivals;  // [rows]
};

Workspace cut(std::byte* workspace, int64_t most_rows) {
  auto* parts = reinterpret_cast<Summary*>(workspace);
  return {parts, reinterpret_cast<int32_t*>(parts + most_rows * kSegments)};
}

// Written by another thread block.
__device__ Summary load(const Summary* from) {
  const uint4* words = reinterpret_cast<const uint4*>(from);
  const uint4 both[2] = {__ldcg(words), __ldcg(words + 1)};
  static_assert(sizeof(Summary) == sizeof both);
  Summary summary;
  memcpy(&summary, both, sizeof both);
  return summary;
}

__global__ void __launch_bounds__(kThreads)
    pick_kernel(const float* values, int64_t columns, int32_t first_id, const Draw* draws,
                Picked* picks, Workspace workspace) {
  __shared__ __align__(16) std::byte memory[kThreads * sizeof(Summary)];
  auto* shared = reinterpret_cast<Summary*>(memory);
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = blockIdx.x;
  const int64_t size = (columns + kSegments - 1) / kSegments;
  const int64_t begin = min(blockIdx.y * size, columns), end = min(begin + size, columns);
  const Draw draw = draws[row];
  const Summary own = merge_threads<kThreads>(
      summarize(values + row * columns, columns, begin, end, first_id, draw), shared);

  __shared__ bool last;
  Summary* parts = workspace.parts + row * kSegments;
  if (threadIdx.x == 0) {
    parts[blockIdx.y] = own;
    __threadfence();
    last = atomicAdd(workspace.arrivals + row, 1) + 1 == kSegments;
    if (last) workspace.arrivals[row] = 0;
  }
  __syncthreads();
  if (!last) return;
  __threadfence();
  const Summary all = merge_threads<kSegments>(load(parts + threadIdx.x % kSegments), shared);
  if (threadIdx.x == 0) {
    picks[row] = {all.best.score, all.sum, all.top, all.best.value, all.best.id, all.finite};
  }
}

}  // namespace

void pick(const Stream& stream, const float* values, int64_t rows, int64_t columns,
          int32_t first_id, const Draw* draws, Picked* picks, std::byte* workspace,
          int64_t most_rows) {
  launch(stream, pick_kernel, dim3(static_cast<unsigned>(rows), kSegments), dim3(kThreads), 0,
         values, columns, first_id, draws, picks, cut(workspace, most_rows));
}

size_t pick_workspace_bytes(int64_t most_rows) {
  return static_cast<size_t>(most_rows) * (kSegments * sizeof(Summary) + sizeof(int32_t));
}

}  // namespace dinfer::cuda
