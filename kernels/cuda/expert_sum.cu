#include "kernels/cuda/expert_products.h"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void sum_row(const float* values, const float* weights, int chosen, int64_t columns,
                        bool add, float* out) {
  let_successor_start();
  wait_for_predecessor();
  const int64_t row = blockIdx.x, column = int64_t{blockIdx.y} * kThreads + threadIdx.x;
  if (column >= columns) return;
  values += row * chosen * columns + column;
  weights += row * chosen;
  float sum = 0.0f;
#pragma unroll 8
  for (int i = 0; i < chosen; ++i) sum += weights[i] * values[i * columns];
  float& to = out[row * columns + column];
  to = add ? to + sum : sum;
}

}  // namespace

void sum_slots(const Stream& stream, const float* slot_values, const float* weights, int64_t rows,
               int chosen, int64_t columns, bool add, float* out) {
  launch(stream, sum_row, dim3(rows, (columns + kThreads - 1) / kThreads), kThreads, 0, slot_values,
         weights, chosen, columns, add, out);
}

}  // namespace dinfer::cuda
