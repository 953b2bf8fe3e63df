#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_grouped.cuh"

namespace dinfer::cuda {

void decode_4_bits(const Stream& stream, const DecodeTask& task) {
  launch_grouped<4>(stream, task);
}

}  // namespace dinfer::cuda
