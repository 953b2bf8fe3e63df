#include "device/cpu_linear.h"

#include <algorithm>

namespace dinfer {
namespace {

using cpu::PackedMatrix;
using cpu::part_of;
using cpu::Products;
using cpu::QuantizedRows;
using cpu::Range;
using cpu::Rows;

// So few elements are prepared by each thread for itself: that is cheaper than to wait for the
// others.
constexpr int64_t kOwnCopy = 2048;

// Rows are prepared in pieces of at least this many columns.
constexpr int64_t kPieceColumns = 512;

// Calls prepare(row, begin, end) over columns or blocks so that the parts of all ranks are all of
// it.
template <class Prepare>
void prepare_part(int64_t rows, int64_t columns, int64_t unit, int rank, int parts,
                  const Prepare& prepare) {
  const int64_t units = columns / unit;
  const int64_t pieces = rows >= parts ? 1 : std::max<int64_t>(1, columns / kPieceColumns);
  const Range mine = part_of(rows * pieces, rank, parts);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const Range piece = part_of(units, static_cast<int>(i % pieces), static_cast<int>(pieces));
    prepare(i / pieces, piece.begin, piece.end);
  }
}

// The part of `all` that holds copy number `copy` of its rows.
QuantizedRows copy_of(QuantizedRows all, int64_t copy) {
  const int64_t blocks = copy * all.count * all.blocks();
  all.codes += copy * all.count * all.row_bytes();
  all.scales += blocks;
  all.sums += blocks;
  all.offsets += blocks;
  return all;
}

}  // namespace

CpuLinear::CpuLinear(cpu::ThreadPool& pool, bool integers) : pool_(pool), integers_(integers) {}

void CpuLinear::run(const Rows& rows, const CpuWeight& weight, const Products& out) {
  if (rows.count == 0) return;
  if (integers_ && weight.matrix().packing == cpu::Packing::grouped) {
    run_quantized(rows, weight.matrix(), out);
  } else {
    run_f32(rows, weight.matrix(), out);
  }
}

QuantizedRows CpuLinear::place(const PackedMatrix& weight, int64_t rows, int64_t copies) {
  QuantizedRows x{.count = rows,
                  .columns = weight.columns,
                  .block = weight.block(),
                  .even_odd = weight.bits == 4};
  const int64_t blocks = copies * rows * x.blocks();
  x.codes = codes_.get<int8_t>(copies * rows * x.row_bytes());
  x.scales = scales_.get<float>(blocks);
  x.sums = sums_.get<int32_t>(blocks);
  x.offsets = offsets_.get<float>(blocks);
  return x;
}

void CpuLinear::run_quantized(const Rows& rows, const PackedMatrix& weight, const Products& out) {
  const bool own_copy = rows.count * rows.columns <= kOwnCopy;
  const QuantizedRows all = place(weight, rows.count, own_copy ? pool_.size() : 1);
  pool_.run([&](int rank) {
    const QuantizedRows x = own_copy ? copy_of(all, rank) : all;
    const auto quantize = [&](int64_t row, int64_t begin, int64_t end) {
      cpu::quantize_row(rows, row, begin, end, x);
    };
    if (own_copy) {
      prepare_part(rows.count, rows.columns, x.block, 0, 1, quantize);
    } else {
      prepare_part(rows.count, rows.columns, x.block, rank, pool_.size(), quantize);
      pool_.barrier();
    }
    const Range mine = part_of(weight.panels(), rank, pool_.size());
    cpu::multiply_quantized(weight, x, mine.begin, mine.end, out);
  });
}

void CpuLinear::run_f32(const Rows& rows, const PackedMatrix& weight, const Products& out) {
  const bool as_they_are = rows.kind == Rows::Kind::plain;
  float* prepared = as_they_are ? nullptr : prepared_.get<float>(rows.count * rows.columns);
  const float* x = as_they_are ? rows.data : prepared;
  const int64_t stride = as_they_are ? rows.stride : rows.columns;
  pool_.run([&](int rank) {
    if (!as_they_are) {
      // Whole vectors, so that where a piece ends does not decide how a column is computed.
      const int64_t unit = rows.columns % 16 == 0 ? 16 : rows.columns;
      prepare_part(rows.count, rows.columns, unit, rank, pool_.size(),
                   [&](int64_t row, int64_t begin, int64_t end) {
                     cpu::prepare_row(rows, row, begin * unit, end * unit,
                                      prepared + row * rows.columns + begin * unit);
                   });
      pool_.barrier();
    }
    const Range mine = part_of(weight.panels(), rank, pool_.size());
    cpu::multiply_f32(weight, x, rows.count, stride, mine.begin, mine.end, out);
  });
}

}  // namespace dinfer
