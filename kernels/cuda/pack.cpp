#include "kernels/cuda/pack.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/cpu/pack.h"
#include "kernels/cuda/pack_kernels.h"

namespace dinfer::cuda {
namespace {

PackedMatrix form_of(const DenseMatrix& m) {
  const Packing packing = m.type == DType::f32   ? Packing::f32
                          : m.type == DType::f16 ? Packing::f16
                                                 : Packing::bf16;
  check(m.data.size() == m.rows * m.columns * bytes_of(m.type), "bytes of a dense matrix");
  return {.packing = packing, .rows = m.rows, .columns = m.columns};
}

PackedMatrix form_of(const GroupedMatrix& m) {
  check(m.bits == 4 || m.bits == 8, "bits of a grouped matrix");
  check(m.group == 16 || m.group == 32 || m.group == 64 || m.group == 128, "group size");
  check(m.columns % m.group == 0, "groups divide the columns");
  check(std::ssize(m.codes) == m.rows * m.columns * m.bits / 8, "codes of a grouped matrix");
  check(std::ssize(m.scales) == m.rows * m.groups(), "scales of a grouped matrix");
  check(m.symmetric() || m.minimums.size() == m.scales.size(), "minimums of a grouped matrix");
  return {.packing = Packing::grouped,
          .bits = m.bits,
          .group = m.group,
          .symmetric = m.symmetric(),
          // Kernels know small groups with f32 scales only: those of k-quants.
          .half_scales = m.group > 16 && cpu::all_fit_f16(m.scales) && cpu::all_fit_f16(m.minimums),
          .rows = m.rows,
          .columns = m.columns};
}

void upload_dense(const DenseMatrix& matrix, const PackedMatrix& to, const CopyRows& copy) {
  copy(to.data, to.padded_columns() * to.element_bytes(), matrix.data.data(),
       matrix.columns * to.element_bytes(), matrix.rows);
}

// Where the values are put.
template <class Value>
Value* copy_all(const std::vector<Value>& values, std::byte*& to, const CopyRows& copy) {
  auto* begin = reinterpret_cast<Value*>(to);
  const size_t bytes = values.size() * sizeof(Value);
  copy(to, bytes, reinterpret_cast<const std::byte*>(values.data()), bytes, 1);
  to += bytes;
  return begin;
}

void upload_grouped(const Stream& stream, const GroupedMatrix& matrix, const PackedMatrix& to,
                    std::byte* staging, const CopyRows& copy) {
  const float* scales = copy_all(matrix.scales, staging, copy);
  const float* minimums = matrix.symmetric() ? nullptr : copy_all(matrix.minimums, staging, copy);
  pack_groups(stream, {copy_all(matrix.codes, staging, copy), scales, minimums}, to);
}

// Copies of rows, each half's of `from` rows at the beginning of one of `to` rows.
template <class Values>
Values spread(const Values& values, int64_t row_values, int64_t halves, int64_t from, int64_t to) {
  Values all(static_cast<size_t>(halves * to * row_values));
  for (int64_t half = 0; half < halves; ++half) {
    std::copy_n(values.begin() + half * from * row_values, from * row_values,
                all.begin() + half * to * row_values);
  }
  return all;
}

}  // namespace

HostMatrix stack_in_panels(HostMatrix stack, int64_t count) {
  auto* m = std::get_if<GroupedMatrix>(&stack);
  check(count > 0 && rows_of(stack) % (2 * count) == 0, "halves of a stack's matrices");
  const int64_t halves = 2 * count, from = rows_of(stack) / halves;
  const int64_t to = (from + kPanel - 1) / kPanel * kPanel;
  if (!m || to == from) return stack;
  m->codes = spread(m->codes, m->columns * m->bits / 8, halves, from, to);
  m->scales = spread(m->scales, m->groups(), halves, from, to);
  if (!m->symmetric()) m->minimums = spread(m->minimums, m->groups(), halves, from, to);
  m->rows = halves * to;
  return stack;
}

PackedMatrix packed_form(const HostMatrix& matrix) {
  return std::visit([](const auto& m) { return form_of(m); }, matrix);
}

size_t staging_bytes(const HostMatrix& matrix) {
  const auto* m = std::get_if<GroupedMatrix>(&matrix);
  if (!m) return 0;
  return m->codes.size() + (m->scales.size() + m->minimums.size()) * sizeof(float);
}

void upload(const Stream& stream, const HostMatrix& matrix, const PackedMatrix& to,
            std::byte* staging, const CopyRows& copy) {
  if (const auto* dense = std::get_if<DenseMatrix>(&matrix)) {
    upload_dense(*dense, to, copy);
  } else {
    upload_grouped(stream, std::get<GroupedMatrix>(matrix), to, staging, copy);
  }
}

}  // namespace dinfer::cuda
