#include "kernels/cuda/element.cuh"
#include "kernels/cuda/tensor_core.cuh"
#include "kernels/cuda/unpack.h"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void unpack(PackedMatrix m, const int32_t* rows, int64_t first_row, float scale,
                       float* out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = rows[blockIdx.x] - first_row;
  const int64_t column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (column >= m.columns) return;
  const bool exists = row >= 0 && row < m.rows;
  out[blockIdx.x * m.columns + column] = exists ? scale * element(m, row, column) : 0.0f;
}

constexpr int kWarps = kThreads / 32;

// One warp a block of 16 rows x 64 columns, in the order of pack_kernels.cu: a lane has rows g and
// g + 8, and of each step of 16 columns four.
template <int kBits>
__global__ void __launch_bounds__(kThreads)
    unpack_to_bf16(const __grid_constant__ PackedMatrix m, int64_t begin, int64_t end,
                   __nv_bfloat16* out) {
  let_successor_start();
  wait_for_predecessor();
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int64_t width = m.padded_columns(), blocks = width / kColumnBlock;
  const int64_t block = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (block >= blocks) return;
  const int64_t first = begin + kPanel * blockIdx.y;
  const auto* words = reinterpret_cast<const uint4*>(m.data) +
                      (first / kPanel * blocks + block) * (8 * kBits) + lane;
  uint4 pieces[kBits / 4];
#pragma unroll
  for (int i = 0; i < kBits / 4; ++i) pieces[i] = __ldcs(words + 32 * i);
#pragma unroll
  for (int step = 0; step < 4; ++step) {
    const int64_t column = kColumnBlock * block + 16 * step + 4 * t;
#pragma unroll
    for (int upper = 0; upper < 2; ++upper) {
      const int64_t row = first + g + 8 * upper;
      if (row >= end) continue;
      const int index = kBits == 4 ? step : 2 * (step % 2) + upper;
      const uint4& piece = pieces[kBits == 4 ? 0 : step / 2];
      const uint32_t word = (index == 0   ? piece.x
                             : index == 1 ? piece.y
                             : index == 2 ? piece.z
                                          : piece.w) >>
                            (kBits == 4 ? 8 * upper : 0);
      const Affine affine = affine_of(m, row, column);
      const float zero = affine.minimum - affine.scale * static_cast<float>(affine.offset);
      float values[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const uint32_t code = word >> bit_of(kBits, c) & ((1u << kBits) - 1);
        values[c] = affine.scale * static_cast<float>(code) + zero;
      }
      *reinterpret_cast<uint2*>(out + (row - begin) * width + column) = {
          bits_of(__floats2bfloat162_rn(values[0], values[1])),
          bits_of(__floats2bfloat162_rn(values[2], values[3]))};
    }
  }
}

}  // namespace

void unpack_bf16(const Stream& stream, const PackedMatrix& matrix, int64_t begin, int64_t end,
                 void* out) {
  const int64_t blocks = matrix.padded_columns() / kColumnBlock;
  const dim3 grid((blocks + kWarps - 1) / kWarps, (end - begin + kPanel - 1) / kPanel);
  auto* to = static_cast<__nv_bfloat16*>(out);
  if (matrix.bits == 4) {
    launch(stream, unpack_to_bf16<4>, grid, kThreads, 0, matrix, begin, end, to);
  } else {
    launch(stream, unpack_to_bf16<8>, grid, kThreads, 0, matrix, begin, end, to);
  }
}

void unpack_rows(const Stream& stream, const PackedMatrix& matrix, const int32_t* rows,
                 int64_t count, int64_t first_row, float scale, float* out) {
  if (count == 0) return;
  launch(stream, unpack, dim3(count, (matrix.columns + kThreads - 1) / kThreads), kThreads, 0,
         matrix, rows, first_row, scale, out);
}

}  // namespace dinfer::cuda
