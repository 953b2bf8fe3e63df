#include "kernels/cuda/matmul_batch.h"

#include <algorithm>

#include "kernels/cuda/batch_task.h"

namespace dinfer::cuda {
namespace {

constexpr int ceil_div(int64_t a, int64_t b) { return static_cast<int>((a + b - 1) / b); }

BatchTask task_of(int64_t rows, const BatchInputs& inputs, const PackedMatrix& m,
                  const BatchWorkspace& workspace, const Products& out) {
  BatchTask task{BatchCodes::of(m)};
  task.inputs = inputs;
  task.workspace = workspace;
  task.out = out;
  task.rows = static_cast<int>(rows);
  task.weight_rows = static_cast<int>(m.rows);
  task.row_tiles = ceil_div(m.rows, kBatchTile);
  task.input_tiles = static_cast<int>(batch_tiles(rows));
  return task;
}

// Microseconds that a stage takes at least: a multiprocessor reads about 34 KB in one, makes some
// 1,700 steps, and multiplies in each of these 64 x 16 weights with two input rows.
double stage_time(const BatchTask& task, int bits, int tile_rows) {
  const int blocks = kBatchStageBlocks(bits);
  const double read = kBatchPanels * (kBatchCodeBytes + task.stage_scale_bytes(bits)) / 34e3;
  const double multiplied = blocks * 4 * (kBatchTile / 64) * (tile_rows / 2) / 1.7e3;
  const double unpacked = blocks * 4 * (kBatchTile / 64) * 25 / 1.7e3;
  return std::max({read, multiplied, unpacked});
}

// How many slabs end soonest: what the busiest multiprocessor multiplies, and what all then add up,
// which begins with a meeting.
int slabs_for(BatchTask task, int bits, const Stream& stream) {
  const auto tile_rows = static_cast<int>(batch_tile_rows(task.rows));
  const int stages = task.stages_of_line(bits);
  const double stage = stage_time(task, bits, tile_rows);
  int best = 1;
  double best_time = 0;
  for (task.slabs = 1; task.slabs <= std::min(stages, 64); ++task.slabs) {
    const double bytes = double{sizeof(float)} * task.items() * kBatchTile * tile_rows;
    if (task.slabs > 1 && bytes > static_cast<double>(task.workspace.partial_bytes)) break;
    const int rounds = ceil_div(task.items(), stream.multiprocessors);
    const double time =
        rounds * ceil_div(stages, task.slabs) * stage + (task.slabs > 1 ? 2.5 + bytes / 2e6 : 0.0);
    if (task.slabs == 1 || time < best_time) best = task.slabs, best_time = time;
  }
  return best;
}

}  // namespace

void multiply_batch(const Stream& stream, int64_t rows, const BatchInputs& inputs,
                    const PackedMatrix& weight, const BatchWorkspace& workspace,
                    const Products& out) {
  BatchTask task = task_of(rows, inputs, weight, workspace, out);
  task.slabs = slabs_for(task, weight.bits, stream);
  if (weight.bits == 4) return batch_4_bits(stream, task, weight.half_scales);
  batch_8_bits(stream, task, weight.half_scales);
}

}  // namespace dinfer::cuda
