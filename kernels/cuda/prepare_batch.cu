#include <algorithm>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/matmul_batch.h"
#include "kernels/cuda/tensor_core.cuh"

namespace dinfer::cuda {
namespace {

constexpr int kMostThreads = 1024;
constexpr int kStep = 16;  // columns that a thread takes: of one tensor-core instruction

// Columns c .. c + 3 of `columns`; zeros past them.
__device__ float4 quad(const float* x, int c, int columns) {
  if (columns % 4 == 0) return c < columns ? *reinterpret_cast<const float4*>(x + c) : float4{};
  const auto one = [&](int i) { return i < columns ? x[i] : 0.0f; };
  return {one(c), one(c + 1), one(c + 2), one(c + 3)};
}

// What is done to columns c .. c + 3 of a row, but for the factor 1 / rms; and their squares.
__device__ float4 prepared(const Rows& in, const float* row, int c, float& squares) {
  const int columns = static_cast<int>(in.columns);
  const float4 v = quad(row, c, columns);
  if (in.kind == Rows::Kind::plain) return v;
  if (in.kind == Rows::Kind::gated) {
    const float4 u = quad(row + columns, c, columns);
    return {activate(in.activation, v.x) * u.x, activate(in.activation, v.y) * u.y,
            activate(in.activation, v.z) * u.z, activate(in.activation, v.w) * u.w};
  }
  squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
  const float4 n = quad(in.norm, c, columns);
  return {v.x * n.x, v.y * n.y, v.z * n.z, v.w * n.w};
}

// A sum and a maximum over the block, in all threads.
struct RowTotals {
  float squares, largest;
};

__device__ RowTotals over_warp(RowTotals own) {
  for (int step = 16; step > 0; step /= 2) {
    own.squares += __shfl_xor_sync(~0u, own.squares, step);
    own.largest = fmaxf(own.largest, __shfl_xor_sync(~0u, own.largest, step));
  }
  return own;
}

__device__ RowTotals over_block(RowTotals own) {
  __shared__ RowTotals of_warp[kMostThreads / 32];
  const unsigned lane = threadIdx.x % 32;
  own = over_warp(own);
  if (lane == 0) of_warp[threadIdx.x / 32] = own;
  __syncthreads();
  return over_warp(lane < blockDim.x / 32 ? of_warp[lane] : RowTotals{});
}

// A power of two that brings a number below 2^15, and near it.
__device__ float unit_for(float largest) {
  const int exponent = static_cast<int>(__float_as_uint(largest) >> 23) - 127;
  return __uint_as_float(static_cast<uint32_t>(min(max(14 - exponent, -100), 100) + 127) << 23);
}

__device__ uint32_t pair(float a, float b) { return bits_of(__floats2half2_rn(a, b)); }

// A block a row. A step's columns 4 t + i and 4 t + 2 + i become columns 2 t + i and 8 + 2 t + i:
// the order of the codes. Groups of 8 rows x 8 columns lie one after the other, first across the
// rows of the tile.
__global__ void __launch_bounds__(kMostThreads)
    prepare(const Rows in, const BatchInputs out, int width, int tile_rows) {
  let_successor_start();
  wait_for_predecessor();
  const int row = static_cast<int>(blockIdx.x), stride = kStep * static_cast<int>(blockDim.x);
  const int begin = kStep * static_cast<int>(threadIdx.x);
  const float* from = in.data + row * in.stride;
  const bool exists = row < in.count;
  RowTotals totals{};
  for (int c = begin; exists && c < width; c += stride) {
#pragma unroll
    for (int i = 0; i < kStep; i += 4) {
      const float4 v = prepared(in, from, c + i, totals.squares);
      totals.largest = fmaxf(fmaxf(totals.largest, fmaxf(fabsf(v.x), fabsf(v.y))),
                             fmaxf(fabsf(v.z), fabsf(v.w)));
    }
  }
  totals = over_block(totals);
  const float inverse = in.kind == Rows::Kind::normed
                            ? rsqrtf(totals.squares / static_cast<float>(in.columns) + in.epsilon)
                            : 1.0f;
  const float unit = unit_for(totals.largest * inverse), factor = unit * inverse;
  if (threadIdx.x == 0) out.factors[row] = 1.0f / unit;
  auto* tile = reinterpret_cast<uint4*>(out.values) +
               int64_t{row / tile_rows} * (width / 8) * tile_rows + row % tile_rows;
  for (int c = begin; c < width; c += stride) {
    uint32_t pairs[8] = {};
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      float squares = 0.0f;
      const float4 v = exists ? prepared(in, from, c + 4 * t, squares) : float4{};
      pairs[t] = pair(v.x * factor, v.y * factor);
      pairs[4 + t] = pair(v.z * factor, v.w * factor);
    }
    tile[int64_t{c / 8} * tile_rows] = {pairs[0], pairs[1], pairs[2], pairs[3]};
    tile[int64_t{c / 8 + 1} * tile_rows] = {pairs[4], pairs[5], pairs[6], pairs[7]};
  }
}

}  // namespace

void prepare_batch(const Stream& stream, const Rows& rows, int64_t width, const BatchInputs& out) {
  const int64_t tile_rows = batch_tile_rows(rows.count), all = batch_tiles(rows.count) * tile_rows;
  const int64_t threads = std::min<int64_t>((width / kStep + 31) / 32 * 32, kMostThreads);
  launch(stream, prepare, dim3(all), dim3(threads), 0, rows, out, static_cast<int>(width),
         static_cast<int>(tile_rows));
}

}  // namespace dinfer::cuda
