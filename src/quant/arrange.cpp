#include <algorithm>
#include <cstring>
#include <utility>

#include "base/error.h"
#include "quant/grouped.h"
#include "quant/quantize.h"

namespace dinfer {

namespace {

template <class Vector>
void append(Vector& into, Vector& from) {
  into.insert(into.end(), from.begin(), from.end());
  Vector().swap(from);  // the sources go as the result grows
}

DenseMatrix stack_dense(std::vector<DenseMatrix> parts) {
  DenseMatrix out{parts.front().type, 0, parts.front().columns, {}};
  size_t bytes = 0;
  for (const DenseMatrix& part : parts) bytes += part.data.size();
  out.data.reserve(bytes);
  for (DenseMatrix& part : parts) {
    out.rows += part.rows;
    append(out.data, part.data);
  }
  return out;
}

GroupedMatrix stack_grouped(std::vector<GroupedMatrix> parts) {
  const GroupedMatrix& first = parts.front();
  GroupedMatrix out{first.bits, first.group, 0, first.columns, {}, {}, {}};
  for (const GroupedMatrix& part : parts) out.rows += part.rows;
  out.codes.reserve(out.rows * out.columns * out.bits / 8);
  out.scales.reserve(out.rows * out.groups());
  if (!first.symmetric()) out.minimums.reserve(out.rows * out.groups());
  for (GroupedMatrix& part : parts) {
    append(out.codes, part.codes);
    append(out.scales, part.scales);
    append(out.minimums, part.minimums);
  }
  return out;
}

DenseMatrix to_dense_f32(HostMatrix matrix) {
  if (auto* dense = std::get_if<DenseMatrix>(&matrix); dense && dense->type == DType::f32) {
    return std::move(*dense);
  }
  const std::vector<float> values = dequantize(matrix);
  DenseMatrix out{DType::f32, rows_of(matrix), columns_of(matrix), {}};
  out.data.resize(values.size() * sizeof(float));
  const auto bytes = std::as_bytes(std::span(values));
  std::ranges::copy(bytes, out.data.begin());
  return out;
}

// Brings grouped matrices to the finest group, the most bits, and minimums if any has them.
std::vector<GroupedMatrix> unify_grouped(std::vector<HostMatrix>& parts) {
  int group = 128;
  int bits = 4;
  bool symmetric = true;
  std::vector<GroupedMatrix> out;
  for (HostMatrix& part : parts) {
    out.push_back(std::get<GroupedMatrix>(std::move(part)));
    group = std::min(group, out.back().group);
    bits = std::max(bits, out.back().bits);
    symmetric = symmetric && out.back().symmetric();
  }
  for (GroupedMatrix& part : out) {
    part = split_groups(std::move(part), group);
    if (bits == 8) part = widen_codes(std::move(part));
    if (!symmetric) part = add_minimums(std::move(part));
  }
  return out;
}

std::vector<DenseMatrix> unify_dense(std::vector<HostMatrix>& parts) {
  const auto* first = std::get_if<DenseMatrix>(&parts.front());
  const bool same = first && std::ranges::all_of(parts, [&](const HostMatrix& part) {
                      const auto* dense = std::get_if<DenseMatrix>(&part);
                      return dense && dense->type == first->type;
                    });
  std::vector<DenseMatrix> out;
  for (HostMatrix& part : parts) {
    out.push_back(same ? std::get<DenseMatrix>(std::move(part)) : to_dense_f32(std::move(part)));
  }
  return out;
}

// Rows of `width` elements, in the new order.
template <class Vector>
Vector permute(const Vector& in, int64_t width, std::span<const int64_t> order) {
  Vector out(in.size());
  if (in.empty()) return out;
  for (size_t i = 0; i < order.size(); ++i) {
    std::memcpy(&out[i * width], &in[order[i] * width], width * sizeof(in[0]));
  }
  return out;
}

}  // namespace

HostMatrix stack_rows(std::vector<HostMatrix> parts) {
  check(!parts.empty(), "nothing to stack");
  if (parts.size() == 1) return std::move(parts.front());
  for (const HostMatrix& part : parts) {
    check(columns_of(part) == columns_of(parts.front()), "stacked matrices differ in columns");
  }
  const bool grouped = std::ranges::all_of(
      parts, [](const HostMatrix& part) { return std::holds_alternative<GroupedMatrix>(part); });
  if (grouped) return stack_grouped(unify_grouped(parts));
  return stack_dense(unify_dense(parts));
}

HostMatrix permute_rows(HostMatrix matrix, std::span<const int64_t> order) {
  const int64_t rows = rows_of(matrix);
  check(std::ssize(order) == rows, "a permutation names every row");
  for (const int64_t row : order) check(0 <= row && row < rows, "row outside the matrix");
  if (auto* dense = std::get_if<DenseMatrix>(&matrix)) {
    dense->data = permute(dense->data, dense->columns * bytes_of(dense->type), order);
  } else {
    auto& grouped = std::get<GroupedMatrix>(matrix);
    grouped.codes = permute(grouped.codes, grouped.columns * grouped.bits / 8, order);
    grouped.scales = permute(grouped.scales, grouped.groups(), order);
    grouped.minimums = permute(grouped.minimums, grouped.groups(), order);
  }
  return matrix;
}

}  // namespace dinfer
