#include "kernels/cuda/matmul_decode_forms.h"
#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {
namespace {

template <bool kSimple>
void launch_group(const Stream& stream, const DecodeTask& task) {
  if (task.group_shift == 4) return launch_decode<GroupedForm<8, 16, kSimple>>(stream, task);
  if (task.group_shift == 5) return launch_decode<GroupedForm<8, 32, kSimple>>(stream, task);
  launch_decode<GroupedForm<8, 64, kSimple>>(stream, task);
}

}  // namespace

void decode_8_bits(const Stream& stream, const DecodeTask& task) {
  if (task.symmetric && task.half_scales) return launch_group<true>(stream, task);
  launch_group<false>(stream, task);
}

}  // namespace dinfer::cuda
