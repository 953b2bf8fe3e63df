#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_4_bits(const Stream& stream, const DecodeTask& task) {
  if (task.weight.group == 16) return launch_decode<GroupedForm<4, 16>>(stream, task);
  if (task.weight.group == 32) return launch_decode<GroupedForm<4, 32>>(stream, task);
  launch_decode<GroupedForm<4, 64>>(stream, task);
}

}  // namespace dinfer::cuda
