#include "kernels/cuda/matmul.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cuda/matmul_batch.h"
#include "kernels/cuda/matmul_cublas.h"
#include "kernels/cuda/matmul_decode.h"
#include "kernels/cuda/matmul_f32.h"
#include "kernels/cuda/prepare.h"
#include "kernels/cuda/unpack.h"

namespace dinfer::cuda {
namespace {

// Up to which matrices of 16 bits are multiplied as decoding does: cuBLASLt, which rounds inputs to
// the type of the weights, is faster from two rows on.
constexpr int64_t kDenseDecodeRows = 1;

// From more than the first to the second number of rows, to multiply a quantised matrix by
// warpgroups as it is stored (matmul_batch.h) is faster than as decoding does, and than to unpack
// it.
constexpr int64_t kFewBatchedRows = 8, kBatchedRows = 1024;

// The same for GPUs without warpgroups' products: to read it once for every kDecodeRows of them.
constexpr int64_t kRepeatedRows = 32;

// Quantised matrices are unpacked in pieces of this size, which stay in the L2 cache, mostly.
constexpr size_t kUnpackedBytes = size_t{64} << 20;

constexpr size_t kAlignment = 256;

constexpr size_t aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

// Bytes of the parts of the workspace.
struct Parts {
  size_t counters = kDecodeCounterBytes, partial = kDecodePartialBytes;
  size_t prepared, cublas, unpacked;

  explicit Parts(const Matmul::Limits& limits) {
    const size_t width = (limits.columns + kColumnBlock - 1) / kColumnBlock * kColumnBlock;
    prepared = aligned(std::max(limits.rows * 2, std::min(limits.rows, kRepeatedRows) * 4) * width);
    if (limits.grouped) {
      const int64_t rows = std::min(limits.rows, kBatchedRows);
      prepared = std::max(prepared, aligned(batch_input_bytes(rows, static_cast<int64_t>(width))));
    }
    cublas = limits.rows > kDenseDecodeRows ? CublasMatmul::kWorkspaceBytes : 0;
    unpacked = limits.grouped && limits.rows > kRepeatedRows ? kUnpackedBytes : 0;
  }
  size_t bytes() const { return counters + partial + prepared + cublas + unpacked; }
};

}  // namespace

struct Matmul::State {
  State(const Stream& s, const Limits& l, std::byte* workspace) : stream(s), limits(l), parts(l) {
    require(cudaMemsetAsync(workspace, 0, parts.counters, stream.handle), "cudaMemsetAsync");
    decode.counters = reinterpret_cast<unsigned*>(workspace);
    decode.partial = reinterpret_cast<float*>(workspace += parts.counters);
    prepared = workspace += parts.partial;
    workspace += parts.prepared;
    if (parts.cublas > 0) cublas = std::make_unique<CublasMatmul>(workspace);
    unpacked = workspace + parts.cublas;
  }

  // One row of 16-bit weights, up to kDecodeRows of others.
  void few(const Rows& rows, const PackedMatrix& weight, const Products& out) {
    if (weight.packing == Packing::f32) {
      multiply_f32(stream, prepare(rows, weight).data, rows.count, weight.padded_columns(), weight,
                   out);
    } else if (rows.count <= kFusedRows || rows.kind == Rows::Kind::plain) {
      multiply_decode(stream, rows, weight, decode, out);
    } else {
      multiply_decode(stream, prepare(rows, weight), weight, decode, out);
    }
  }

  // The rows with what is to be done to them done, as f32.
  Rows prepare(const Rows& rows, const PackedMatrix& weight) {
    auto* x = reinterpret_cast<float*>(prepared);
    prepare_rows(stream, rows, Packing::f32, x, weight.padded_columns());
    return {
        .data = x, .count = rows.count, .stride = weight.padded_columns(), .columns = rows.columns};
  }

  // In batches of at most `batch` rows: do_batch(rows, out).
  template <class DoBatch>
  static void in_batches(Rows rows, Products out, int64_t batch, const DoBatch& do_batch) {
    const int64_t count = rows.count;
    for (int64_t first = 0; first < count; first += batch) {
      rows.count = std::min(batch, count - first);
      do_batch(rows, out);
      rows.data += batch * rows.stride;
      out.data += batch * out.stride;
    }
  }

  void many_f32(const Rows& all, const PackedMatrix& weight, const Products& all_out) {
    const auto batch = static_cast<int64_t>(parts.prepared / (4 * weight.padded_columns()));
    in_batches(all, all_out, batch, [&](const Rows& rows, const Products& out) {
      prepare_rows(stream, rows, Packing::f32, prepared, weight.padded_columns());
      cublas->multiply(stream, {Packing::f32, prepared, rows.count, weight.data, weight.rows,
                                weight.padded_columns(), out});
    });
  }

  void many_dense(const Rows& rows, const PackedMatrix& weight, const Products& out) {
    prepare_rows(stream, rows, weight.packing, prepared, weight.padded_columns());
    cublas->multiply(stream, {weight.packing, prepared, rows.count, weight.data, weight.rows,
                              weight.padded_columns(), out});
  }

  void many_batched(const Rows& rows, const PackedMatrix& weight, const Products& out) {
    const int64_t all = batch_tiles(rows.count) * batch_tile_rows(rows.count);
    const BatchInputs inputs{
        .values = prepared,
        .factors = reinterpret_cast<float*>(prepared + all * 2 * weight.padded_columns())};
    prepare_batch(stream, rows, weight.padded_columns(), inputs);
    multiply_batch(stream, rows.count, inputs, weight,
                   {decode.partial, parts.partial, decode.counters}, out);
  }

  void many_unpacked(const Rows& rows, const PackedMatrix& weight, const Products& out) {
    const int64_t width = weight.padded_columns();
    prepare_rows(stream, rows, Packing::bf16, prepared, width);
    const int64_t piece = static_cast<int64_t>(kUnpackedBytes / (2 * width)) / kPanel * kPanel;
    for (int64_t begin = 0; begin < weight.rows; begin += piece) {
      const int64_t end = std::min(begin + piece, weight.rows);
      unpack_bf16(stream, weight, begin, end, unpacked);
      Products part = out;
      part.data += begin;
      if (part.bias) part.bias += begin;
      cublas->multiply(stream,
                       {Packing::bf16, prepared, rows.count, unpacked, end - begin, width, part});
    }
  }

  Stream stream;
  Limits limits;
  Parts parts;
  DecodeWorkspace decode;
  std::byte* prepared;
  std::byte* unpacked;
  std::unique_ptr<CublasMatmul> cublas;
};

size_t Matmul::workspace_bytes(const Limits& limits) { return Parts(limits).bytes(); }

Matmul::Matmul(const Stream& stream, const Limits& limits, std::byte* workspace)
    : state_(std::make_unique<State>(stream, limits, workspace)) {}

Matmul::~Matmul() = default;

void Matmul::multiply(const Rows& rows, const PackedMatrix& weight, const Products& out) {
  if (rows.count == 0) return;
  const Limits& limits = state_->limits;
  const bool grouped = weight.packing == Packing::grouped;
  const bool short_dense = weight.packing == Packing::f16 || weight.packing == Packing::bf16;
  check(rows.count <= limits.rows && weight.columns <= limits.columns &&
            weight.rows <= limits.weight_rows && (!grouped || limits.grouped),
        "a product within the limits");
  check(rows.columns == weight.columns, "columns of rows and weight");
  if (grouped && state_->stream.warpgroups && rows.count > kFewBatchedRows &&
      rows.count <= kBatchedRows) {
    state_->many_batched(rows, weight, out);
  } else if (rows.count <= (short_dense ? kDenseDecodeRows : kDecodeRows)) {
    state_->few(rows, weight, out);
  } else if (grouped && rows.count <= kRepeatedRows) {
    State::in_batches(state_->prepare(rows, weight), out, kDecodeRows,
                      [&](const Rows& some, const Products& to) {
                        multiply_decode(state_->stream, some, weight, state_->decode, to);
                      });
  } else if (grouped) {
    state_->many_unpacked(rows, weight, out);
  } else if (weight.packing == Packing::f32) {
    state_->many_f32(rows, weight, out);
  } else {
    state_->many_dense(rows, weight, out);
  }
}

}  // namespace dinfer::cuda
