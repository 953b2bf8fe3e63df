#pragma once

#include <memory>

#include "kernels/cuda/matmul.h"

namespace dinfer::cuda {

// A matrix product as cuBLASLt takes it: out = x * weight^T. x [count, columns] and weight
// [rows, columns] are of `type`, row-major, 256-byte aligned.
struct DenseProduct {
  Packing type = Packing::bf16;  // no grouped
  const void* x = nullptr;
  int64_t count = 0;
  const void* weight = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  Products out;
};

// cuBLASLt, loaded when the first of these is made, so that the program starts without it. What
// its heuristics choose for a shape is kept.
class CublasMatmul {
 public:
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;

  explicit CublasMatmul(std::byte* workspace);
  ~CublasMatmul();

  void multiply(const Stream& stream, const DenseProduct& product);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dinfer::cuda
