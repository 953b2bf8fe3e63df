#include "kernels/cuda/expert_finish.cuh"

namespace dinfer::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kSlotsAtOnce = 4;

__device__ float4 quad(const float* from) { return *reinterpret_cast<const float4*>(from); }

__device__ float dot(const float4& a, const float4& b) {
  return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

// A warp a row of both halves, for all slots of a tile.
__global__ void __launch_bounds__(32 * kWarps)
    multiply_tiles(const __grid_constant__ ExpertProduct product) {
  wait_for_predecessor();
  let_successor_start();  // which may look at the lists at once
  if (static_cast<int>(blockIdx.x) >= *product.lists.tile_count) return;
  const ExpertTile tile = product.lists.tiles[blockIdx.x];
  const int row = static_cast<int>(blockIdx.y * kWarps + threadIdx.x / 32);
  const int lane = threadIdx.x % 32, width = product.weight.blocks * static_cast<int>(kColumnBlock);
  const bool exists = row < product.half_rows;
  const auto* lower = reinterpret_cast<const float*>(product.weight.codes) +
                      (int64_t{2} * tile.expert * product.half_rows + row) * width;
  const float* upper = lower + int64_t{product.half_rows} * width;
  const auto* inputs = static_cast<const float*>(product.inputs);
  for (int first = 0; first < tile.count; first += kSlotsAtOnce) {
    const float* x[kSlotsAtOnce];
    int slots[kSlotsAtOnce];
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      const int place = tile.first + min(first + i, tile.count - 1);
      slots[i] = product.lists.slots[place];
      x[i] = inputs + int64_t{product.out ? place : slots[i] / product.chosen} * width;
    }
    float sums[2][kSlotsAtOnce] = {};
    for (int c = 4 * lane; exists && c < width; c += 128) {
      const float4 a = quad(lower + c), b = quad(upper + c);
#pragma unroll
      for (int i = 0; i < kSlotsAtOnce; ++i) {
        const float4 v = quad(x[i] + c);
        sums[0][i] += dot(a, v);
        sums[1][i] += dot(b, v);
      }
    }
#pragma unroll
    for (int i = 0; i < kSlotsAtOnce; ++i) {
      for (int step = 16; step > 0; step /= 2) {
        sums[0][i] += __shfl_xor_sync(~0u, sums[0][i], step);
        sums[1][i] += __shfl_xor_sync(~0u, sums[1][i], step);
      }
      if (lane == i && first + i < tile.count) {
        finish_slot<float>(product, row, tile.first + first + i, slots[i], sums[0][i], sums[1][i]);
      }
    }
  }
}

}  // namespace

void multiply_experts_f32(const Stream& stream, const ExpertProduct& product) {
  const dim3 grid(product.most_tiles,
                  (product.panels() * static_cast<int>(kPanel) + kWarps - 1) / kWarps);
  launch(stream, multiply_tiles, grid, 32 * kWarps, 0, product);
}

}  // namespace dinfer::cuda
