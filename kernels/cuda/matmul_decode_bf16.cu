#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_bf16(const Stream& stream, const DecodeTask& task) {
  if (task.rows.count == 1) return launch_decode<DenseForm<Bf16Pieces, 1>>(stream, task);
  if (task.rows.count <= 8) return launch_decode<DenseForm<Bf16Pieces, 8>>(stream, task);
  launch_decode<DenseForm<Bf16Pieces, 16>>(stream, task);
}

}  // namespace dinfer::cuda
