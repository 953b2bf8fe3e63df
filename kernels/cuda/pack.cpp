#include "kernels/cuda/pack.h"

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

void copy(const Stream& stream, void* to, const void* from, size_t bytes) {
  require(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream.handle),
          "cudaMemcpyAsync");
}

void upload_dense(const Stream& stream, const DenseMatrix& matrix, const PackedMatrix& to) {
  const size_t width = matrix.columns * to.element_bytes();
  const size_t pitch = to.padded_columns() * to.element_bytes();
  if (width == pitch) return copy(stream, to.data, matrix.data.data(), to.bytes());
  require(cudaMemsetAsync(to.data, 0, to.bytes(), stream.handle), "cudaMemsetAsync");
  require(cudaMemcpy2DAsync(to.data, pitch, matrix.data.data(), width, width, matrix.rows,
                            cudaMemcpyHostToDevice, stream.handle),
          "cudaMemcpy2DAsync");
}

void upload_grouped(const Stream& stream, const GroupedMatrix& matrix, const PackedMatrix& to,
                    std::byte* staging) {
  const size_t scale_bytes = matrix.scales.size() * sizeof(float);
  auto* scales = reinterpret_cast<float*>(staging);
  auto* minimums = scales + matrix.scales.size();
  auto* codes = reinterpret_cast<uint8_t*>(minimums + matrix.minimums.size());
  copy(stream, scales, matrix.scales.data(), scale_bytes);
  if (!matrix.symmetric()) copy(stream, minimums, matrix.minimums.data(), scale_bytes);
  copy(stream, codes, matrix.codes.data(), matrix.codes.size());
  pack_groups(stream, {codes, scales, minimums}, to);
}

}  // namespace

PackedMatrix packed_form(const HostMatrix& matrix) {
  return std::visit([](const auto& m) { return form_of(m); }, matrix);
}

size_t staging_bytes(const HostMatrix& matrix) {
  const auto* m = std::get_if<GroupedMatrix>(&matrix);
  if (!m) return 0;
  return m->codes.size() + (m->scales.size() + m->minimums.size()) * sizeof(float);
}

void upload(const Stream& stream, const HostMatrix& matrix, const PackedMatrix& to,
            std::byte* staging) {
  if (const auto* dense = std::get_if<DenseMatrix>(&matrix)) {
    upload_dense(stream, *dense, to);
  } else {
    upload_grouped(stream, std::get<GroupedMatrix>(matrix), to, staging);
  }
}

}  // namespace dinfer::cuda
