#include "kernels/cuda/expert_products_kernel.cuh"

namespace dinfer::cuda {

void multiply_experts_8_bits(const Stream& stream, const ExpertProduct& product) {
  launch_grouped_experts<8>(stream, product);
}

}  // namespace dinfer::cuda
