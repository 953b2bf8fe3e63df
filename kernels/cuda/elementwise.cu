#include "kernels/cuda/elementwise.h"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void gather_kernel(const float* in, const int32_t* rows, int64_t columns, float* out) {
  let_successor_start();
  wait_for_predecessor();
  const float* from = in + rows[blockIdx.x] * columns;
  float* to = out + blockIdx.x * columns;
  for (int64_t i = threadIdx.x; i < columns; i += blockDim.x) to[i] = from[i];
}

constexpr int kSumBlocks = 1056, kSumThreads = 512;

__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(const uint4* from, int64_t count, uint32_t* sums) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t stride = static_cast<int64_t>(kSumBlocks) * kSumThreads;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kSumThreads + threadIdx.x;
  uint32_t sum = 0;
#pragma unroll 8
  for (int64_t i = first; i < count; i += stride) {
    const uint4 v = __ldg(from + i);
    sum += v.x + v.y + v.z + v.w;
  }
  sums[first] = sum;
}

}  // namespace

void sum_words(const Stream& stream, const std::byte* from, size_t bytes, std::byte* sums) {
  launch(stream, sum_kernel, dim3(kSumBlocks), dim3(kSumThreads), 0,
         reinterpret_cast<const uint4*>(from), static_cast<int64_t>(bytes / sizeof(uint4)),
         reinterpret_cast<uint32_t*>(sums));
}

size_t sum_words_bytes() { return size_t{kSumBlocks} * kSumThreads * sizeof(uint32_t); }

void gather_rows(const Stream& stream, const float* in, const int32_t* rows, int64_t count,
                 int64_t columns, float* out) {
  launch(stream, gather_kernel, dim3(static_cast<unsigned>(count)), dim3(kThreads), 0, in, rows,
         columns, out);
}

}  // namespace dinfer::cuda
