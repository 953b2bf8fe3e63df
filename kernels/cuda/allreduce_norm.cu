#include <algorithm>

#include <cooperative_groups.h>

#include "kernels/cuda/allreduce.h"
#include "kernels/cuda/peer_turn.cuh"

namespace dinfer::cuda {
namespace {

using namespace peer;
namespace cg = cooperative_groups;

constexpr unsigned kMostPartials = 64;  // sums of warps that make up a row's

// The blocks that share a row: a cluster where the GPU has them, else one block.
class RowGroup {
 public:
  __device__ static unsigned blocks() { return gridDim.x; }
  __device__ static unsigned block() { return blockIdx.x; }

  // Each warp's `value` lands in every block's `partials`, and all are added up in one order.
  __device__ static float sum(float value, float* partials) {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
    for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
    const unsigned index = block() * warps + warp;
#if __CUDA_ARCH__ >= 900
    cg::cluster_group cluster = cg::this_cluster();
    if (lane < blocks()) cluster.map_shared_rank(partials, lane)[index] = value;
    cluster.sync();
#else
    if (lane == 0) partials[index] = value;
    __syncthreads();
#endif
    const unsigned count = blocks() * warps;
    float total =
        (lane < count ? partials[lane] : 0.0f) + (lane + 32 < count ? partials[lane + 32] : 0.0f);
    for (int step = 16; step > 0; step /= 2) total += __shfl_xor_sync(~0u, total, step);
    return total;
  }

  // No block writes to another before that one runs.
  __device__ static void arrive() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.relaxed.aligned;");
#endif
  }
  __device__ static void wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.aligned;" ::: "memory");
#endif
  }
};

__device__ void store_out(float* out, float4 v) { *reinterpret_cast<float4*>(out) = v; }
__device__ void store_out(__nv_bfloat16* out, float4 v) {
  const __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y),
                       high = __floats2bfloat162_rn(v.z, v.w);
  *reinterpret_cast<uint2*>(out) = {*reinterpret_cast<const uint32_t*>(&low),
                                    *reinterpret_cast<const uint32_t*>(&high)};
}

// Grid: x, the blocks of a row; y, rows by turns, and one to compare lengths.
template <int kMost, int kMostUnits, class Out>
__global__ void __launch_bounds__(512) sum_norm(const __grid_constant__ PeerGroup group,
                                                const __grid_constant__ PeerSumNorm<Out> task) {
  __shared__ float partials[2][kMostPartials];
  RowGroup::arrive();
  const int row_units = static_cast<int>(task.columns / 4);
  const int first = static_cast<int>(RowGroup::block() * blockDim.x + threadIdx.x);
  const int stride = static_cast<int>(RowGroup::blocks() * blockDim.x);
  float4 norms[kMostUnits];
#pragma unroll
  for (int k = 0; k < kMostUnits; ++k)
    if (first + k * stride < row_units)
      norms[k] = reinterpret_cast<const float4*>(task.norm)[first + k * stride];

  wait_for_predecessor();
  let_successor_start();
  const Turn turn(group);
  if (blockIdx.y == gridDim.y - 1) {
    if (blockIdx.x == 0)
      compare_lengths(turn, task.rows * task.columns);
    else
      leave_epoch(turn);
    RowGroup::wait();
    return;
  }
  const int64_t row_stride = gridDim.y - 1;
  const auto* values = reinterpret_cast<const uint4*>(task.values);
  auto* into = reinterpret_cast<float4*>(task.into);
  for (int64_t row = blockIdx.y; row < task.rows; row += row_stride)
    for (int u = first; u < row_units; u += stride)
      push_to_all<kMost, Bare>(turn, row * row_units + u, values[row * row_units + u]);
  leave_epoch(turn);
  RowGroup::wait();

  int parity = 0;
  for (int64_t row = blockIdx.y; row < task.rows; row += row_stride, parity ^= 1) {
    float4 sums[kMostUnits];
    float square = 0;
#pragma unroll
    for (int k = 0; k < kMostUnits; ++k) {
      if (first + k * stride >= row_units) break;
      const size_t unit = row * row_units + first + k * stride;
      const float4 before = into[unit];
      sums[k] = before + take_sum<kMost>(turn, unit, values[unit]);
      into[unit] = sums[k];
      square += sums[k].x * sums[k].x + sums[k].y * sums[k].y + sums[k].z * sums[k].z +
                sums[k].w * sums[k].w;
    }
    const float mean = RowGroup::sum(square, partials[parity]) / static_cast<float>(task.columns);
    const float scale = rsqrtf(mean + task.epsilon);
#pragma unroll
    for (int k = 0; k < kMostUnits; ++k) {
      if (first + k * stride >= row_units) break;
      const size_t unit = row * row_units + first + k * stride;
      store_out(task.out + unit * 4,
                {sums[k].x * scale * norms[k].x, sums[k].y * scale * norms[k].y,
                 sums[k].z * scale * norms[k].z, sums[k].w * scale * norms[k].w});
    }
  }
}

// How one row is spread: blocks (a cluster), threads a block, units a thread at most.
struct RowShape {
  unsigned blocks;
  unsigned threads;
  int units;
};

// Few rows are spread over many blocks; many rows keep the GPU busy with few blocks each.
RowShape row_shape(int64_t rows, int64_t columns, bool clusters) {
  const auto units = static_cast<unsigned>(columns / 4);
  unsigned blocks = 1;
  while (clusters && blocks < 8 && blocks * 128 < units && rows * blocks * 2 <= 128) blocks *= 2;
  const unsigned most_threads = std::min(512u, 32 * kMostPartials / blocks);
  const unsigned wanted = ((units + blocks - 1) / blocks + 31) / 32 * 32;
  const unsigned threads = std::clamp(wanted, 32u, most_threads);
  return {blocks, threads, static_cast<int>((units + blocks * threads - 1) / (blocks * threads))};
}

template <int kMost, class Out>
void launch_norm(const Stream& stream, const PeerGroup& group, const PeerSumNorm<Out>& task) {
  const RowShape shape = row_shape(task.rows, task.columns, stream.capability >= 90);
  const auto rows =
      static_cast<unsigned>(std::min<int64_t>(task.rows, std::max(1u, 128 / shape.blocks)));
  const auto kernel = shape.units <= 1 ? sum_norm<kMost, 1, Out> : sum_norm<kMost, 8, Out>;
  launch_clusters(stream, kernel, dim3(shape.blocks, rows + 1), shape.blocks, dim3(shape.threads),
                  0, group, task);
}

}  // namespace

template <class Out>
void peer_sum_norm(const Stream& stream, const PeerGroup& group, const PeerSumNorm<Out>& task) {
  if (group.ranks <= 2) return launch_norm<2>(stream, group, task);
  if (group.ranks <= 4) return launch_norm<4>(stream, group, task);
  return launch_norm<kMaxPeers>(stream, group, task);
}

template void peer_sum_norm(const Stream&, const PeerGroup&, const PeerSumNorm<float>&);
template void peer_sum_norm(const Stream&, const PeerGroup&, const PeerSumNorm<__nv_bfloat16>&);

}  // namespace dinfer::cuda
