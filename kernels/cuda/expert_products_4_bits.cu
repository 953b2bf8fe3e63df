#include "kernels/cuda/expert_products_kernel.cuh"

namespace dinfer::cuda {

void multiply_experts_4_bits(const Stream& stream, const ExpertProduct& product) {
  launch_grouped_experts<4>(stream, product);
}

}  // namespace dinfer::cuda
