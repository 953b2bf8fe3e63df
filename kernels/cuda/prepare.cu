#include "kernels/cuda/prepare.h"

#include "kernels/cuda/activation.cuh"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

// The sum over the block, in all threads.
__device__ float block_sum(float value) {
  __shared__ float of_warp[kThreads / 32];
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (float part : of_warp) sum += part;
  return sum;
}

// One block a row.
__global__ void prepare_row_f32(Rows in, float* out, int64_t stride) {
  let_successor_start();
  wait_for_predecessor();
  const float* row = in.data + blockIdx.x * in.stride;
  out += blockIdx.x * stride;
  float inverse = 1.0f;
  if (in.kind == Rows::Kind::normed) {
    float squares = 0.0f;
    for (int64_t c = threadIdx.x; c < in.columns; c += kThreads) squares += row[c] * row[c];
    inverse = rsqrtf(block_sum(squares) / static_cast<float>(in.columns) + in.epsilon);
  }
  for (int64_t c = threadIdx.x; c < stride; c += kThreads) {
    float value = 0.0f;
    if (c < in.columns) {
      value = row[c];
      if (in.kind == Rows::Kind::normed) value *= inverse * in.norm[c];
      if (in.kind == Rows::Kind::gated) {
        value = activate(in.activation, value) * row[in.columns + c];
      }
    }
    out[c] = value;
  }
}

}  // namespace

void prepare_f32(const Stream& stream, const Rows& rows, float* out, int64_t stride) {
  launch(stream, prepare_row_f32, rows.count, kThreads, 0, rows, out, stride);
}

}  // namespace dinfer::cuda
