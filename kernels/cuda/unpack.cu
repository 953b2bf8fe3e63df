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

}  // namespace

void unpack_rows(const Stream& stream, const PackedMatrix& matrix, const int32_t* rows,
                 int64_t count, int64_t first_row, float scale, float* out) {
  if (count == 0) return;
  launch(stream, unpack, dim3((matrix.columns + kThreads - 1) / kThreads, count), kThreads, 0,
         matrix, rows, first_row, scale, out);
}

}  // namespace dinfer::cuda
