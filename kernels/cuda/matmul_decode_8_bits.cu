#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

void decode_8_bits(const Stream& stream, const DecodeTask& task) {
  if (task.group_shift == 4) return launch_decode<GroupedForm<8, 16>>(stream, task);
  if (task.group_shift == 5) return launch_decode<GroupedForm<8, 32>>(stream, task);
  launch_decode<GroupedForm<8, 64>>(stream, task);
}

}  // namespace dinfer::cuda
