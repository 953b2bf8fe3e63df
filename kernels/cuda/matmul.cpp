#include "kernels/cuda/matmul.h"

#include "base/error.h"
#include "kernels/cuda/matmul_plain.h"
#include "kernels/cuda/prepare.h"

namespace dinfer::cuda {

struct Matmul::State {
  Stream stream;
  Limits limits;
  std::byte* workspace;
};

size_t Matmul::workspace_bytes(const Limits& limits) {
  return limits.rows * (limits.columns + kColumnBlock) * sizeof(float);
}

Matmul::Matmul(const Stream& stream, const Limits& limits, std::byte* workspace)
    : state_(std::make_unique<State>(stream, limits, workspace)) {}

Matmul::~Matmul() = default;

void Matmul::multiply(const Rows& rows, const PackedMatrix& weight, const Products& out) {
  if (rows.count == 0) return;
  check(rows.count <= state_->limits.rows && weight.columns <= state_->limits.columns &&
            weight.rows <= state_->limits.weight_rows,
        "a product within the limits");
  check(rows.columns == weight.columns, "columns of rows and weight");
  auto* x = reinterpret_cast<float*>(state_->workspace);
  prepare_f32(state_->stream, rows, x, weight.padded_columns());
  multiply_plain(state_->stream, x, rows.count, weight, out);
}

}  // namespace dinfer::cuda
