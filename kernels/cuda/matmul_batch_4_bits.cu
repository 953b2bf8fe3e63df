#include "kernels/cuda/matmul_batch_kernel.cuh"

namespace dinfer::cuda {

void batch_4_bits(const Stream& stream, const BatchTask& task, bool half_scales) {
  launch_batch<4>(stream, task, half_scales);
}

}  // namespace dinfer::cuda
