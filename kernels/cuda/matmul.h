#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/activation.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

// Rows that a matrix is multiplied with, in device memory, and what is done to them on the way in.
// Rows are 16-byte aligned: `stride` is a multiple of 4.
struct Rows {
  enum class Kind : uint8_t {
    plain,
    normed,  // rms_norm(row) * norm
    gated,   // activation(row[c]) * row[columns + c]
  };
  Kind kind = Kind::plain;
  const float* data = nullptr;  // [count, stride]
  int64_t count = 0;
  int64_t stride = 0;
  int64_t columns = 0;  // after what is done
  const float* norm = nullptr;
  float epsilon = 0.0f;
  Activation activation = Activation::silu;
};

// Where products go, in device memory: out[row * stride + weight row], plus the weight row's bias
// if there is one, plus what is there already if asked.
struct Products {
  float* data = nullptr;
  int64_t stride = 0;
  const float* bias = nullptr;
  bool add = false;
};

// Multiplies rows with weight matrices on one device and one stream. One row of 16-bit weights, up
// to kDecodeRows of others, are multiplied at the speed at which the weights can be read, with
// inputs kept to 16 bits of mantissa or more; more rows with inputs, and values of quantised
// weights, rounded to bf16 (f16 where the matrix is f16; not at all where it is f32). On GPUs with
// warpgroups' products, 9 to 1024 rows meet quantised weights with both rounded to f16. Sums are
// f32 everywhere, in an order that does not change from call to call.
class Matmul {
 public:
  static constexpr int64_t kDecodeRows = 16;

  // The largest products that will be asked for.
  struct Limits {
    int64_t rows = 0;         // of activations
    int64_t columns = 0;      // of any weight
    int64_t weight_rows = 0;  // of any weight
    bool grouped = false;     // whether any weight is quantised
  };

  // Bytes of device memory that products within the limits need.
  static size_t workspace_bytes(const Limits& limits);

  // `workspace`: so many bytes, 256-byte aligned, used by nothing else; outlives this.
  Matmul(const Stream& stream, const Limits& limits, std::byte* workspace);
  ~Matmul();
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;

  // Enqueues the product. Allocates nothing and waits for nothing: may be captured in a graph,
  // after one call with the same shapes outside of it. `out` overlaps `rows` nowhere.
  void multiply(const Rows& rows, const PackedMatrix& weight, const Products& out);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace dinfer::cuda
