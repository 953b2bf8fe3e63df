#include "kernels/cuda/element.cuh"
#include "kernels/cuda/unpack.h"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void unpack(PackedMatrix m, const int32_t* rows, int64_t first_row, float scale,
                       float* out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = rows[blockIdx.y] - first_row;
  const int64_t column = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (column >= m.columns) return;
  const bool exists = row >= 0 && row < m.rows;
  out[blockIdx.y * m.columns + column] = exists ? scale * element(m, row, column) : 0.0f;
}

// One thread four columns of a row.
__global__ void unpack_to_bf16(PackedMatrix m, int64_t begin, int64_t quads, __nv_bfloat16* out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= quads) return;
  const int64_t column = i % (m.padded_columns() / 4) * 4;
  const int64_t row = begin + i / (m.padded_columns() / 4);
  const CodePlace place = place_of(m, row, column);
  const uint32_t word = reinterpret_cast<const uint32_t*>(m.data)[place.word] >> place.shift;
  const Affine affine = affine_of(m, row, column);
  float values[4];
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const uint32_t code = word >> bit_of(m.bits, c) & ((1u << m.bits) - 1);
    values[c] =
        affine.scale * static_cast<float>(static_cast<int>(code) - affine.offset) + affine.minimum;
  }
  auto* to = reinterpret_cast<__nv_bfloat162*>(out + (row - begin) * m.padded_columns() + column);
  to[0] = __floats2bfloat162_rn(values[0], values[1]);
  to[1] = __floats2bfloat162_rn(values[2], values[3]);
}

}  // namespace

void unpack_bf16(const Stream& stream, const PackedMatrix& matrix, int64_t begin, int64_t end,
                 void* out) {
  const int64_t quads = (end - begin) * (matrix.padded_columns() / 4);
  launch(stream, unpack_to_bf16, (quads + kThreads - 1) / kThreads, kThreads, 0, matrix, begin,
         quads, static_cast<__nv_bfloat16*>(out));
}

void unpack_rows(const Stream& stream, const PackedMatrix& matrix, const int32_t* rows,
                 int64_t count, int64_t first_row, float scale, float* out) {
  if (count == 0) return;
  launch(stream, unpack, dim3((matrix.columns + kThreads - 1) / kThreads, count), kThreads, 0,
         matrix, rows, first_row, scale, out);
}

}  // namespace dinfer::cuda
