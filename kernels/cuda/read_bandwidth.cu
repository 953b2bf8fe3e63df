#include "kernels/cuda/read_bandwidth.h"

#include <algorithm>
#include <array>

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kPasses = 9;

// Reads all of it, and writes nothing, for no sum of bits is that number; the compiler does not
// know.
__global__ void read_all(const uint4* memory, int64_t count, uint32_t* never) {
  uint32_t bits = 0;
  const int64_t stride = int64_t{gridDim.x} * kThreads;
#pragma unroll 8
  for (int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x; i < count; i += stride) {
    const uint4 v = __ldcs(memory + i);
    bits |= v.x ^ v.y ^ v.z ^ v.w;
  }
  if (bits == 0x9e3779b9u && count < 0) *never = bits;
}

}  // namespace

double measure_read_bandwidth(const Stream& stream, const std::byte* memory, size_t bytes) {
  cudaEvent_t begin = nullptr, end = nullptr;
  require(cudaEventCreate(&begin), "cudaEventCreate");
  require(cudaEventCreate(&end), "cudaEventCreate");
  std::array<float, kPasses> milliseconds;
  for (float& pass : milliseconds) {
    require(cudaEventRecord(begin, stream.handle), "cudaEventRecord");
    read_all<<<stream.multiprocessors * 4, kThreads, 0, stream.handle>>>(
        reinterpret_cast<const uint4*>(memory), static_cast<int64_t>(bytes / 16), nullptr);
    require(cudaGetLastError(), "a kernel launch");
    require(cudaEventRecord(end, stream.handle), "cudaEventRecord");
    require(cudaEventSynchronize(end), "cudaEventSynchronize");
    require(cudaEventElapsedTime(&pass, begin, end), "cudaEventElapsedTime");
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  std::nth_element(milliseconds.begin(), milliseconds.begin() + kPasses / 2, milliseconds.end());
  return static_cast<double>(bytes) / (milliseconds[kPasses / 2] * 1e-3);
}

}  // namespace dinfer::cuda
