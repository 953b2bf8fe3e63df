#include "kernels/cuda/element.cuh"
#include "kernels/cuda/matmul_plain.h"

namespace dinfer::cuda {
namespace {

constexpr int kWarps = 8;
constexpr int kRowsAtOnce = 4;

// A warp a weight row, for kRowsAtOnce rows of x.
__global__ void multiply_rows(const float* x, int64_t count, PackedMatrix weight, Products out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (row >= weight.rows) return;
  const int64_t first = int64_t{blockIdx.y} * kRowsAtOnce;
  const int64_t stride = weight.padded_columns();
  float sums[kRowsAtOnce] = {};
  for (int64_t c = threadIdx.x % 32; c < weight.columns; c += 32) {
    const float w = element(weight, row, c);
    for (int i = 0; i < kRowsAtOnce; ++i) {
      if (first + i < count) sums[i] += w * x[(first + i) * stride + c];
    }
  }
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

void multiply_plain(const Stream& stream, const float* x, int64_t count, const PackedMatrix& weight,
                    const Products& out) {
  const dim3 grid((weight.rows + kWarps - 1) / kWarps, (count + kRowsAtOnce - 1) / kRowsAtOnce);
  launch(stream, multiply_rows, grid, 32 * kWarps, 0, x, count, weight, out);
}

}  // namespace dinfer::cuda
