#include "kernels/cuda/matmul_batch_kernel.cuh"

namespace dinfer::cuda {

void batch_8_bits(const Stream& stream, const BatchTask& task, bool half_scales) {
  launch_batch<8>(stream, task, half_scales);
}

}  // namespace dinfer::cuda
