#include "device/cpu_linear.h"

#include <algorithm>

namespace dinfer {
namespace {

using cpu::PackedMatrix;
using cpu::Packing;
using cpu::part_of;
using cpu::Products;
using cpu::QuantizedRows;
using cpu::Range;
using cpu::Rows;
using cpu::SplitRows;

// So few elements are prepared by each thread for itself: that is cheaper than to wait for the
// others.
constexpr int64_t kOwnCopy = 2048;

// Rows are prepared in pieces of at least this many columns.
constexpr int64_t kPieceColumns = 512;

// Panels are taken in pieces of at least so many bytes, which a thread reads in microseconds, and
// of so many panels where the rows do not stay in its second-level cache: they come again with each
// piece.
constexpr int64_t kPieceBytes = 64 << 10;
constexpr int64_t kRowBytesAtHand = 256 << 10;
constexpr int64_t kPiecePanels = 8;

// With fewer rows than this a tile is too empty to gain on vectors: 8 took 1.07 times as long, 16
// took 0.77 times as long.
constexpr int64_t kFewestInTiles = 12;

int64_t piece_panels(const PackedMatrix& weight, int64_t row_bytes) {
  return std::max<int64_t>(kPieceBytes / static_cast<int64_t>(weight.panel_bytes()),
                           row_bytes <= kRowBytesAtHand ? 1 : kPiecePanels);
}

// Calls prepare(row, begin, end) over columns or blocks so that the parts of all ranks are all of
// it.
template <class Prepare>
void prepare_part(int64_t rows, int64_t columns, int64_t unit, int rank, int parts,
                  const Prepare& prepare) {
  const int64_t units = (columns + unit - 1) / unit;
  const int64_t pieces = rows >= parts ? 1 : std::max<int64_t>(1, columns / kPieceColumns);
  const Range mine = part_of(rows * pieces, rank, parts);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const Range piece = part_of(units, static_cast<int>(i % pieces), static_cast<int>(pieces));
    prepare(i / pieces, piece.begin, piece.end);
  }
}

// `first` begins a tile.
QuantizedRows rows_of(QuantizedRows all, int64_t first, int64_t count) {
  all.codes += first * all.row_bytes();
  all.scales += first * all.blocks();
  all.sums += first * all.blocks();
  all.offsets += first * all.blocks();
  all.count = count;
  return all;
}

SplitRows rows_of(SplitRows all, int64_t first, int64_t count) {
  all.parts = all.at(first, 0);
  all.count = count;
  return all;
}

Products from_row(Products out, int64_t row) {
  out.data += row * out.stride;
  return out;
}

int64_t largest(std::span<const RowGroup> groups) {
  return std::ranges::max_element(groups, {}, &RowGroup::count)->count;
}

}  // namespace

CpuLinear::CpuLinear(cpu::ThreadPool& pool, bool rounded, bool tiles)
    : pool_(pool), rounded_(rounded), tiles_(tiles), taken_(pool.size()) {}

// Before the threads begin: nothing of their runs is taken.
void CpuLinear::reset_dealing() {
  for (Taken& taken : taken_) taken.pieces.store(0, std::memory_order_relaxed);
}

// Calls multiply(group, begin, end) for pieces of this thread's run of panels of each group's
// matrix, in their order, then for what is left of the runs of others. `form`: that of all
// matrices.
template <class Multiply>
void CpuLinear::deal(int rank, const PackedMatrix& form, std::span<const RowGroup> groups,
                     int64_t piece, const Multiply& multiply) {
  for (int i = 0; i < pool_.size(); ++i) {
    const int owner = (rank + i) % pool_.size();
    const Range run = part_of(form.panels(), owner, pool_.size());
    const int64_t of_a_run = (run.end - run.begin + piece - 1) / piece;
    const int64_t pieces = std::ssize(groups) * of_a_run;
    std::atomic<int64_t>& taken = taken_[owner].pieces;
    while (taken.load(std::memory_order_relaxed) < pieces) {
      const int64_t next = taken.fetch_add(1, std::memory_order_relaxed);
      if (next >= pieces) break;
      const int64_t begin = run.begin + next % of_a_run * piece;
      multiply(groups[next / of_a_run], begin, std::min(begin + piece, run.end));
    }
  }
}

void CpuLinear::run(const Rows& rows, const CpuWeight& weight, const Products& out) {
  const RowGroup all{.count = rows.count};
  run(rows, weight, {&all, 1}, out);
}

void CpuLinear::run_f32(const Rows& rows, const CpuWeight& weight, const Products& out) {
  const RowGroup all{.count = rows.count};
  if (rows.count > 0) run_f32(rows, weight, {&all, 1}, out);
}

void CpuLinear::run(const Rows& rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                    const Products& out) {
  if (rows.count == 0) return;
  const Packing packing = stack.matrix().packing;
  if (rounded_ && packing == Packing::grouped) {
    run_quantized(rows, stack, groups, out);
  } else if (rounded_ && tiles_ && packing != Packing::f32) {
    run_split(rows, stack, groups, out);
  } else {
    run_f32(rows, stack, groups, out);
  }
}

QuantizedRows CpuLinear::place(const PackedMatrix& weight, int64_t rows, int tile, int64_t copies) {
  QuantizedRows x{.count = rows,
                  .columns = weight.columns,
                  .block = weight.block(),
                  .even_odd = weight.bits == 4,
                  .tile = tile};
  const int64_t blocks = copies * x.placed_rows() * x.blocks();
  x.codes = codes_.get<int8_t>(copies * x.placed_rows() * x.row_bytes());
  x.scales = scales_.get<float>(blocks);
  x.sums = sums_.get<int32_t>(blocks);
  x.offsets = offsets_.get<float>(blocks);
  return x;
}

// Rows and groups so that each group begins a tile: rows are picked once more, those that fill up
// tiles at will.
void CpuLinear::begin_with_tiles(Rows& rows, std::span<const RowGroup>& groups, int tile) {
  if (tile == 1 || groups.size() == 1) return;
  aligned_.assign(groups.begin(), groups.end());
  order_.clear();
  for (RowGroup& group : aligned_) {
    const int64_t first = std::ssize(order_);
    for (int64_t row = group.first; row < group.first + group.count; ++row) {
      order_.push_back(rows.picked ? rows.picked[row] : row);
    }
    while (std::ssize(order_) % tile != 0) order_.push_back(order_.back());
    group.first = first;
  }
  rows.picked = order_.data();
  rows.count = std::ssize(order_);
  groups = aligned_;
}

void CpuLinear::run_quantized(Rows rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                              const Products& out) {
  const PackedMatrix form = stack.matrix();
  const int tile = tiles_ && rows.count >= kFewestInTiles * std::ssize(groups) ? cpu::kTileRows : 1;
  begin_with_tiles(rows, groups, tile);
  const bool own_copy = rows.count * rows.columns <= kOwnCopy;
  const QuantizedRows all = place(form, rows.count, tile, own_copy ? pool_.size() : 1);
  const int64_t piece =
      tile > 1 ? kPiecePanels : piece_panels(form, largest(groups) * all.row_bytes());
  reset_dealing();
  pool_.run([&](int rank) {
    const QuantizedRows x = own_copy ? rows_of(all, rank * all.placed_rows(), rows.count) : all;
    const auto quantize = [&](int64_t row, int64_t begin, int64_t end) {
      cpu::quantize_row(rows, row, begin, end, x);
    };
    if (own_copy) {
      prepare_part(rows.count, rows.columns, x.block, 0, 1, quantize);
    } else {
      prepare_part(rows.count, rows.columns, x.block, rank, pool_.size(), quantize);
      pool_.barrier();
    }
    deal(rank, form, groups, piece, [&](const RowGroup& group, int64_t begin, int64_t end) {
      cpu::multiply_quantized(stack.matrix(group.matrix), rows_of(x, group.first, group.count),
                              begin, end, from_row(out, group.to));
    });
  });
}

// All numbers of rows go this way: one that is alone gets the same bits.
void CpuLinear::run_split(Rows rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                          const Products& out) {
  const PackedMatrix form = stack.matrix();
  const int64_t most = largest(groups);
  const int tile = static_cast<int>(std::min<int64_t>(most, cpu::kTileRows));
  begin_with_tiles(rows, groups, tile);
  SplitRows x{.count = rows.count, .columns = rows.columns, .tile = tile};
  x.parts = parts_.get<uint16_t>(x.numbers());
  const int64_t piece = most == 1 ? piece_panels(form, x.row_bytes()) : kPiecePanels;
  reset_dealing();
  pool_.run([&](int rank) {
    prepare_part(
        rows.count, rows.columns, SplitRows::kBlock, rank, pool_.size(),
        [&](int64_t row, int64_t begin, int64_t end) { cpu::split_row(rows, row, begin, end, x); });
    pool_.barrier();
    deal(rank, form, groups, piece, [&](const RowGroup& group, int64_t begin, int64_t end) {
      cpu::multiply_split(stack.matrix(group.matrix), rows_of(x, group.first, group.count), begin,
                          end, from_row(out, group.to));
    });
  });
}

void CpuLinear::run_f32(const Rows& rows, const CpuWeight& stack, std::span<const RowGroup> groups,
                        const Products& out) {
  const PackedMatrix form = stack.matrix();
  const bool as_they_are = rows.kind == Rows::Kind::plain && !rows.picked;
  float* prepared = as_they_are ? nullptr : prepared_.get<float>(rows.count * rows.columns);
  const float* x = as_they_are ? rows.data : prepared;
  const int64_t stride = as_they_are ? rows.stride : rows.columns;
  const int64_t piece =
      piece_panels(form, largest(groups) * rows.columns * static_cast<int64_t>(sizeof(float)));
  reset_dealing();
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
    deal(rank, form, groups, piece, [&](const RowGroup& group, int64_t begin, int64_t end) {
      cpu::multiply_f32(stack.matrix(group.matrix), x + group.first * stride, group.count, stride,
                        begin, end, from_row(out, group.to));
    });
  });
}

}  // namespace dinfer
