#include "device/cpu_weight.h"

#include <atomic>

#include "kernels/cpu/pack.h"

namespace dinfer {
namespace {

using cpu::PackedMatrix;
using cpu::Packing;
using cpu::part_of;
using cpu::Range;

bool all_fit_f16(const std::vector<float>& values, cpu::ThreadPool& pool) {
  std::atomic<bool> fit{true};
  pool.run([&](int rank) {
    const Range part = part_of(std::ssize(values), rank, pool.size());
    const auto count = static_cast<size_t>(part.end - part.begin);
    if (!cpu::all_fit_f16({values.data() + part.begin, count})) fit = false;
  });
  return fit;
}

PackedMatrix form_of(const DenseMatrix& m) {
  const Packing packing = m.type == DType::f32   ? Packing::f32
                          : m.type == DType::f16 ? Packing::f16
                                                 : Packing::bf16;
  check(m.data.size() == m.rows * m.columns * bytes_of(m.type), "bytes of a dense matrix");
  return {.packing = packing, .rows = m.rows, .columns = m.columns};
}

PackedMatrix form_of(const GroupedMatrix& m, cpu::ThreadPool& pool) {
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
          .half_scales = all_fit_f16(m.scales, pool) && all_fit_f16(m.minimums, pool),
          .rows = m.rows,
          .columns = m.columns};
}

}  // namespace

std::unique_ptr<CpuWeight> pack_weight(const HostMatrix& matrix, int64_t count,
                                       cpu::ThreadPool& pool, cpu::Arena& arena) {
  const auto* dense = std::get_if<DenseMatrix>(&matrix);
  const auto* grouped = std::get_if<GroupedMatrix>(&matrix);
  PackedMatrix first = dense ? form_of(*dense) : form_of(*grouped, pool);
  check(count > 0 && first.rows % count == 0, "a stack holds matrices of one shape");
  first.rows /= count;
  cpu::Piece memory = arena.take(count * first.bytes());
  first.data = memory.data;
  auto weight = std::make_unique<CpuWeight>(std::move(memory), first, count);
  pool.run([&](int rank) {
    const Range part = part_of(first.panels(), rank, pool.size());
    for (int64_t i = 0; i < count; ++i) {
      const PackedMatrix packed = weight->matrix(i);
      const int64_t elements = i * first.rows * first.columns;  // before this matrix
      if (dense) {
        cpu::pack_dense(dense->data.data() + elements * bytes_of(dense->type), packed, part.begin,
                        part.end);
      } else {
        const int64_t groups = elements / grouped->group;
        const cpu::GroupedSource from{
            grouped->codes.data() + elements * grouped->bits / 8, grouped->scales.data() + groups,
            grouped->symmetric() ? nullptr : grouped->minimums.data() + groups};
        cpu::pack_grouped(from, packed, part.begin, part.end);
      }
    }
  });
  return weight;
}

std::unique_ptr<CpuWeight> clone_weight(const CpuWeight& weight, cpu::ThreadPool& pool,
                                        cpu::Arena& arena) {
  PackedMatrix first = weight.matrix();
  cpu::Piece memory = arena.take(weight.bytes());
  first.data = memory.data;
  auto copy = std::make_unique<CpuWeight>(std::move(memory), first, weight.count());
  pool.run([&](int rank) {
    const Range part = part_of(first.panels(), rank, pool.size());
    const size_t begin = part.begin * first.panel_bytes(), end = part.end * first.panel_bytes();
    for (int64_t i = 0; i < weight.count(); ++i) {
      const std::byte* from = weight.matrix(i).data;
      std::copy(from + begin, from + end, copy->matrix(i).data + begin);
    }
  });
  return copy;
}

}  // namespace dinfer
