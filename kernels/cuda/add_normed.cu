#include "kernels/cuda/add_normed.h"

#include "kernels/cuda/block_sum.cuh"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kHeld = 16;  // values of a row that each thread keeps between its two passes

// A block takes a row. Rows of up to kThreads * kHeld columns are read once.
__global__ void __launch_bounds__(kThreads)
    add_normed_kernel(const float* in, const float* norm, float epsilon, int64_t columns,
                      float* out) {
  let_successor_start();
  wait_for_predecessor();
  in += blockIdx.x * columns;
  out += blockIdx.x * columns;
  float held[kHeld];
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t c = threadIdx.x + static_cast<int64_t>(k) * kThreads;
    held[k] = c < columns ? in[c] : 0.0f;
    squares += held[k] * held[k];
  }
  constexpr int64_t kRest = static_cast<int64_t>(kThreads) * kHeld;
  for (int64_t c = kRest + threadIdx.x; c < columns; c += kThreads) squares += in[c] * in[c];
  const float inverse =
      rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(columns) + epsilon);
#pragma unroll
  for (int k = 0; k < kHeld; ++k) {
    const int64_t c = threadIdx.x + static_cast<int64_t>(k) * kThreads;
    if (c < columns) out[c] += held[k] * inverse * norm[c];
  }
  for (int64_t c = kRest + threadIdx.x; c < columns; c += kThreads)
    out[c] += in[c] * inverse * norm[c];
}

}  // namespace

void add_normed(const Stream& stream, const float* in, const float* norm, float epsilon,
                int64_t count, int64_t columns, float* out) {
  launch(stream, add_normed_kernel, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0, in, norm,
         epsilon, columns, out);
}

}  // namespace dinfer::cuda
