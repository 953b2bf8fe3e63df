#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_8_bits(const Stream& stream, const DecodeTask& task) {
  if (task.weight.group == 16) return launch_decode<GroupedForm<8, 16>>(stream, task);
  if (task.weight.group == 32) return launch_decode<GroupedForm<8, 32>>(stream, task);
  launch_decode<GroupedForm<8, 64>>(stream, task);
}

}  // namespace dinfer::cuda
