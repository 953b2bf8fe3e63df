#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_f16(const Stream& stream, const DecodeTask& task) {
  launch_decode<DenseForm<F16Pieces>>(stream, task);
}

}  // namespace dinfer::cuda
