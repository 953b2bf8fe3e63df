#include "kernels/cuda/prepare.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda/activation.cuh"
#include "kernels/cuda/block_sum.cuh"

namespace dinfer::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kPiece = 2048;  // columns of a block, where rows may be cut

// Columns c .. c + 3 of `columns`; zeros past them.
__device__ float4 quad(const float* x, int64_t c, int64_t columns) {
  if (columns % 4 == 0) return c < columns ? *reinterpret_cast<const float4*>(x + c) : float4{};
  const auto one = [&](int64_t i) { return i < columns ? x[i] : 0.0f; };
  return {one(c), one(c + 1), one(c + 2), one(c + 3)};
}

__device__ void store(float* to, const float4& v) { *reinterpret_cast<float4*>(to) = v; }

__device__ void store(__nv_bfloat16* to, const float4& v) {
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(to);
  pairs[0] = __floats2bfloat162_rn(v.x, v.y);
  pairs[1] = __floats2bfloat162_rn(v.z, v.w);
}

__device__ float saturate(float x) { return fminf(fmaxf(x, -65504.0f), 65504.0f); }

__device__ void store(__half* to, const float4& v) {
  auto* pairs = reinterpret_cast<__half2*>(to);
  pairs[0] = __floats2half2_rn(saturate(v.x), saturate(v.y));
  pairs[1] = __floats2half2_rn(saturate(v.z), saturate(v.w));
}

// A block takes `piece` columns of a row.
template <class Out>
__global__ void __launch_bounds__(kThreads)
    prepare(const Rows in, Out* out, int64_t stride, int64_t piece) {
  let_successor_start();
  wait_for_predecessor();
  const float* row = in.data + blockIdx.x * in.stride;
  out += blockIdx.x * stride;
  float inverse = 1.0f;
  if (in.kind == Rows::Kind::normed) {
    float squares = 0.0f;
    for (int64_t c = 4 * threadIdx.x; c < in.columns; c += 4 * kThreads) {
      const float4 v = quad(row, c, in.columns);
      squares += v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w;
    }
    inverse = rsqrtf(block_sum<kThreads>(squares) / static_cast<float>(in.columns) + in.epsilon);
  }
  const int64_t begin = blockIdx.y * piece, end = min(begin + piece, stride);
  for (int64_t c = begin + 4 * threadIdx.x; c < end; c += 4 * kThreads) {
    float4 v = quad(row, c, in.columns);
    if (in.kind == Rows::Kind::normed) {
      const float4 n = quad(in.norm, c, in.columns);
      v = {v.x * inverse * n.x, v.y * inverse * n.y, v.z * inverse * n.z, v.w * inverse * n.w};
    } else if (in.kind == Rows::Kind::gated) {
      const float4 u = quad(row + in.columns, c, in.columns);
      v = {activate(in.activation, v.x) * u.x, activate(in.activation, v.y) * u.y,
           activate(in.activation, v.z) * u.z, activate(in.activation, v.w) * u.w};
    }
    store(out + c, v);
  }
}

}  // namespace

void prepare_rows(const Stream& stream, const Rows& rows, Packing type, void* out, int64_t stride) {
  const int64_t piece = rows.kind == Rows::Kind::normed ? stride : kPiece;
  const dim3 grid(rows.count, (stride + piece - 1) / piece);
  if (type == Packing::f32) {
    launch(stream, prepare<float>, grid, kThreads, 0, rows, static_cast<float*>(out), stride,
           piece);
  } else if (type == Packing::bf16) {
    launch(stream, prepare<__nv_bfloat16>, grid, kThreads, 0, rows,
           static_cast<__nv_bfloat16*>(out), stride, piece);
  } else {
    launch(stream, prepare<__half>, grid, kThreads, 0, rows, static_cast<__half*>(out), stride,
           piece);
  }
}

}  // namespace dinfer::cuda
