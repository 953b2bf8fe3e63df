#include "kernels/cuda/matmul_decode.h"

#include <algorithm>

#include "kernels/cuda/decode_task.h"
#include "kernels/cuda/matmul_decode_forms.h"

namespace dinfer::cuda {
namespace {

constexpr int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

// Bytes of partial sums of a panel.
size_t partial_bytes(int64_t rows, int slabs) {
  return kPanel * slabs * (rows == 1 ? 4 : rows <= 8 ? 8 : 16) * sizeof(float);
}

int stage_columns(const PackedMatrix& m, int64_t rows) {
  return m.packing == Packing::grouped ? kGroupedStageColumns(m.bits, rows) : kDenseStageColumns;
}

// Of shared memory, a warp has its ring, two parts of sums, and sums of inputs
// (matmul_decode_kernel.cuh).
int warp_bytes(const PackedMatrix& m, int64_t rows) {
  const int columns = stage_columns(m, rows);
  if (m.packing != Packing::grouped) return kDenseStages * 32 * columns + 2048;
  const int codes = 2 * m.bits * columns;
  const int scales = std::max(1, columns / m.group) * static_cast<int>(m.scale_bytes());
  return kGroupedStages(m.bits, rows) * (codes + scales) + 2048 + (m.half_scales ? 512 : 1024);
}

// So many warps fit in a block, of which two fit on a multiprocessor.
int most_warps(const PackedMatrix& m, int64_t rows, const Stream& stream) {
  const int half = stream.shared_memory_for(2);
  return std::min((half - 512) / warp_bytes(m, rows), kDecodeMostWarps);
}

// How long the busiest multiprocessor takes, in columns of a panel.
double cost_of(const DecodePlan& plan, const PackedMatrix& m) {
  const double bytes_of_column = m.packing == Packing::grouped ? 2.0 * m.bits + 2 : 32.0;
  // A multiprocessor reads about 34 KB in a microsecond. To join slabs takes one and a half; to sum
  // the warps' parts of an item, a tenth.
  const double microsecond = 34e3 / bytes_of_column;
  const int items = ceil_div(m.panels() * plan.slabs, plan.blocks);
  return items * plan.together * (plan.warps * plan.warp_columns + 0.1 * microsecond) +
         (plan.slabs > 1 ? 1.5 * microsecond : 0.0);
}

DecodePlan plan_decode(const PackedMatrix& m, int64_t rows, const Stream& stream) {
  const int all_warps = most_warps(m, rows, stream), stage = stage_columns(m, rows);
  const int most = kDecodeColumns(rows) / stage;  // stages of a warp
  const int stages = ceil_div(m.padded_columns(), stage);
  const int fewest_slabs = ceil_div(stages, most * all_warps);
  DecodePlan best;
  double best_cost = 0;
  for (int slabs = fewest_slabs; slabs < fewest_slabs + 6; ++slabs) {
    if (slabs > fewest_slabs && m.panels() * partial_bytes(rows, slabs) > kDecodePartialBytes)
      break;
    const int of_slab = ceil_div(stages, slabs);
    const int of_warp = ceil_div(of_slab, all_warps);
    const int warps = ceil_div(of_slab, of_warp);
    if (of_slab * (slabs - 1) >= stages) continue;
    const int together = 2 * std::clamp(all_warps / warps, 1, 4);
    const int64_t items = m.panels() * slabs;
    const DecodePlan plan{.warps = warps,
                          .warp_columns = of_warp * stage,
                          .slabs = slabs,
                          .blocks = static_cast<int>(
                              std::min<int64_t>(items, int64_t{stream.multiprocessors} * together)),
                          .together = together};
    const double cost = cost_of(plan, m);
    if (best.slabs == 0 || cost < best_cost) best = plan, best_cost = cost;
  }
  return best;
}

void launch_decode(const Stream& stream, const PackedMatrix& weight, const DecodeTask& task) {
  if (weight.packing == Packing::bf16) return decode_bf16(stream, task);
  if (weight.packing == Packing::f16) return decode_f16(stream, task);
  if (weight.bits == 4) return decode_4_bits(stream, task);
  decode_8_bits(stream, task);
}

}  // namespace

void multiply_decode(const Stream& stream, const Rows& rows, const PackedMatrix& weight,
                     const DecodeWorkspace& workspace, const Products& out) {
  const DecodePlan plan = plan_decode(weight, rows.count, stream);
  const DecodeTask task(rows, weight, plan, workspace, out);
  // As many panels at a time as have room for their partial sums: almost always all.
  const int most =
      plan.slabs == 1
          ? task.panels
          : static_cast<int>(kDecodePartialBytes / partial_bytes(rows.count, plan.slabs));
  for (int first = 0; first < task.panels; first += most) {
    DecodeTask part = task.slice(first, std::min(most, task.panels - first));
    part.plan.blocks = std::min(plan.blocks, part.panels * plan.slabs);
    launch_decode(stream, weight, part);
  }
}

}  // namespace dinfer::cuda
