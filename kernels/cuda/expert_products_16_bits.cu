#include "kernels/cuda/expert_products_kernel.cuh"

namespace dinfer::cuda {

void multiply_experts_16_bits(const Stream& stream, const ExpertProduct& product) {
  if (product.packing == Packing::bf16) {
    launch_expert_tiles<DenseExperts<__nv_bfloat16>>(stream, product);
  } else {
    launch_expert_tiles<DenseExperts<__half>>(stream, product);
  }
}

}  // namespace dinfer::cuda
