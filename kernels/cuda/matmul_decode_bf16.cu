#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_bf16(const Stream& stream, const DecodeTask& task) {
  launch_decode<DenseForm<Bf16Pieces>>(stream, task);
}

}  // namespace dinfer::cuda
