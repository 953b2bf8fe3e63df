#include "kernels/cuda/matmul_f32.h"

namespace dinfer::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kRowsAtOnce = 4;

// A warp a weight row, for kRowsAtOnce rows of x.
__global__ void multiply_rows(const float* x, int64_t count, int64_t stride, PackedMatrix weight,
                              Products out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= weight.rows) return;
  const int64_t first = int64_t{blockIdx.y} * kRowsAtOnce;
  const auto* w = reinterpret_cast<const float*>(weight.data) + row * weight.padded_columns();
  float sums[kRowsAtOnce] = {};
  for (int64_t c = 4 * (threadIdx.x % 32); c < weight.padded_columns(); c += 128) {
    const float4 a = *reinterpret_cast<const float4*>(w + c);
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      if (first + i >= count) break;
      const float4 b = *reinterpret_cast<const float4*>(x + (first + i) * stride + c);
      sums[i] += a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
    }
  }
#pragma unroll
  for (int i = 0; i < kRowsAtOnce; ++i) {
    float sum = sums[i];
    for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
    if (threadIdx.x % 32 != 0 || first + i >= count) continue;
    float& to = out.data[(first + i) * out.stride + row];
    if (out.bias) sum += out.bias[row];
    to = out.add ? to + sum : sum;
  }
}

}  // namespace

void multiply_f32(const Stream& stream, const float* x, int64_t count, int64_t stride,
                  const PackedMatrix& weight, const Products& out) {
  const dim3 grid((weight.rows + kWarps - 1) / kWarps, (count + kRowsAtOnce - 1) / kRowsAtOnce);
  launch(stream, multiply_rows, grid, 32 * kWarps, 0, x, count, stride, weight, out);
}

}  // namespace dinfer::cuda
