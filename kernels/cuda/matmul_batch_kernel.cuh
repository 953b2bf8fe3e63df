#pragma once

#include <algorithm>

#include "kernels/cuda/batch_task.h"
#include "kernels/cuda/batch_weights.cuh"
#include "kernels/cuda/grid_meeting.cuh"
#include "kernels/cuda/warpgroup_products.cuh"

namespace dinfer::cuda {

// Threads that multiply: a warp takes a panel.
constexpr int kBatchMultipliers = 32 * kBatchPanels;
constexpr int kBatchThreads = kBatchMultipliers + kWarpgroup;  // and those that copy

// One stage of an item.
struct BatchPlace {
  int row_tile, slab, input_tile;
  int stage, end;  // of the line

  template <int kBits>
  __device__ static BatchPlace of(const BatchTask& task, int item) {
    BatchPlace place;
    place.input_tile = item % task.input_tiles;
    const int rest = item / task.input_tiles, stages = task.stages_of_line(kBits);
    place.slab = rest % task.slabs;
    place.row_tile = rest / task.slabs;
    place.stage = stages * place.slab / task.slabs;
    place.end = stages * (place.slab + 1) / task.slabs;
    return place;
  }
};

// Where things are in shared memory: the stages, then the barriers.
template <int kBits, int kTileRows>
struct BatchMemory {
  int scale_bytes, stage_bytes, stages;
  uint32_t first;

  __device__ BatchMemory(const BatchTask& task, const void* shared)
      : scale_bytes(task.stage_scale_bytes(kBits)),
        stage_bytes(task.stage_bytes(kBits, kTileRows)),
        stages(task.stages),
        first(shared_address(shared)) {}

  __device__ uint32_t none() const { return static_cast<uint32_t>(stages); }  // no slot
  __device__ uint32_t codes(uint32_t slot) const { return first + slot * stage_bytes; }
  __device__ uint32_t scales(uint32_t slot) const {
    return codes(slot) + kBatchPanels * kBatchCodeBytes;
  }
  __device__ uint32_t inputs(uint32_t slot) const {
    return scales(slot) + kBatchPanels * scale_bytes;
  }
  __device__ uint32_t full(uint32_t slot) const { return first + stages * stage_bytes + 16 * slot; }
  __device__ uint32_t empty(uint32_t slot) const { return full(slot) + 8; }
};

// The warps that copy: codes and scales in pieces, inputs in bulk.
template <int kBits, int kTileRows>
class BatchSource {
 public:
  using Memory = BatchMemory<kBits, kTileRows>;

  __device__ BatchSource(const BatchTask& task, const Memory& memory)
      : task_(task), memory_(memory) {}

  // Weights of the first stages while the preceding kernel still runs, and then all.
  __device__ void run() {
    RingPlace ring, first_ring;
    int item = blockIdx.x, first_item = item;
    if (item >= task_.items()) return;
    BatchPlace place = BatchPlace::of<kBits>(task_, item), first_place = place;
    int ahead = 0;
    for (; ahead < task_.stages && item < task_.items(); ++ahead) {
      fetch_weights(place, ring.slot);
      ring.advance(task_.stages);
      next(item, place);
    }
    wait_for_predecessor();
    publish_global();
    for (; ahead > 0; --ahead) {
      fetch_inputs(first_place, first_ring.slot);
      first_ring.advance(task_.stages);
      next(first_item, first_place);
    }
    while (item < task_.items()) {
      wait(memory_.empty(ring.slot), ring.parity ^ 1);
      fetch_weights(place, ring.slot);
      fetch_inputs(place, ring.slot);
      ring.advance(task_.stages);
      next(item, place);
    }
  }

 private:
  static constexpr int kStageBlocks = kBatchStageBlocks(kBits);
  static constexpr int kBlockInputBytes = static_cast<int>(kColumnBlock) * 2 * kTileRows;

  __device__ static int thread() { return static_cast<int>(threadIdx.x) - kBatchMultipliers; }

  __device__ void next(int& item, BatchPlace& place) const {
    if (++place.stage < place.end) return;
    item += static_cast<int>(gridDim.x);
    if (item < task_.items()) place = BatchPlace::of<kBits>(task_, item);
  }

  __device__ int blocks_of(const BatchPlace& place) const {
    return min(kStageBlocks, task_.blocks - place.stage * kStageBlocks);
  }

  // Pieces of 16 bytes: of codes, half of the threads take one panel, half the next.
  __device__ void fetch_weights(const BatchPlace& place, uint32_t slot) const {
    constexpr int kPieces = kBatchCodeBytes / 16;
    const int first_panel = place.row_tile * kBatchPanels;
    const int panels = min(kBatchPanels, task_.panels - first_panel);
    const int begin = thread() / kPieces, at = thread() % kPieces * 16;
    if (at < blocks_of(place) * (kBatchCodeBytes / kStageBlocks)) {
      const std::byte* from = task_.codes + (first_panel + begin) * task_.panel_code_bytes +
                              place.stage * kBatchCodeBytes + at;
      const uint32_t to = memory_.codes(slot) + begin * kBatchCodeBytes + at;
#pragma unroll
      for (int panel = 0; panel < kBatchPanels; panel += kWarpgroup / kPieces) {
        if (begin + panel < panels) copy_async(to + panel * kBatchCodeBytes, from);
        from += kWarpgroup / kPieces * task_.panel_code_bytes;
      }
    }
    fetch_scales(place, first_panel, panels, slot);
    arrive_when_copied(memory_.full(slot));
  }

  // A panel's part is a power of two of pieces.
  __device__ void fetch_scales(const BatchPlace& place, int first_panel, int panels,
                               uint32_t slot) const {
    const int group =
        place.stage * kStageBlocks * static_cast<int>(kColumnBlock) >> task_.group_shift;
    const int bytes = min(memory_.scale_bytes, (task_.groups - group) * task_.group_bytes);
    const int shift = 31 - __clz(memory_.scale_bytes);
#pragma unroll 1
    for (int i = 16 * thread(); i < panels << shift; i += 16 * kWarpgroup) {
      const int panel = i >> shift, at = i & (memory_.scale_bytes - 1);
      if (at >= bytes) continue;
      const int64_t line = first_panel + panel;
      copy_async(memory_.scales(slot) + i,
                 task_.scales + (line * task_.groups + group) * task_.group_bytes + at);
    }
  }

  __device__ void fetch_inputs(const BatchPlace& place, uint32_t slot) const {
    if (thread() != 0) return;
    const int64_t block = int64_t{place.input_tile} * task_.blocks + place.stage * kStageBlocks;
    const uint32_t bytes = blocks_of(place) * kBlockInputBytes;
    arrive_and_expect(memory_.full(slot), bytes);
    copy_bulk(memory_.inputs(slot), task_.inputs.values + block * kBlockInputBytes, bytes,
              memory_.full(slot));
  }

  const BatchTask& task_;
  const Memory memory_;
};

// Products of weight rows g and g + 8 of the thread's 16 with input rows 8 j + 2 t and the next:
// `sums` as warpgroup_products.cuh has them.
__device__ inline void finish_batch(const BatchTask& task, int row_tile, int first_input,
                                    int thread, int j, const float4& sums) {
  const Products& out = task.out;
  const int lane = thread % 32;
  const int first_row = row_tile * static_cast<int>(kBatchTile) + thread / 32 * 16 + lane / 4;
  const int input = first_input + 8 * j + lane % 4 * 2;
  const float2 factors = *reinterpret_cast<const float2*>(task.inputs.factors + input);
  const float values[4] = {sums.x * factors.x, sums.y * factors.y, sums.z * factors.x,
                           sums.w * factors.y};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int row = first_row + i / 2 * 8, n = input + i % 2;
    if (row >= task.weight_rows || n >= task.rows) continue;
    const float value = values[i] + (out.bias ? out.bias[row] : 0.0f);
    float* to = out.data + n * out.stride + row;
    *to = out.add ? *to + value : value;
  }
}

// A warp has done with a slot.
__device__ inline void release(uint32_t empty) {
  __syncwarp();
  if (threadIdx.x % 32 == 0) arrive(empty);
}

// The warpgroups that multiply. A warp's codes become operands while those before are multiplied.
template <int kBits, BatchScales kScales, int kTileRows>
__device__ void multiply_items(const BatchTask& task, const BatchMemory<kBits, kTileRows>& memory) {
  using Weights = BatchWeights<kBits, kScales>;
  constexpr int kStageBlocks = kBatchStageBlocks(kBits);
  constexpr uint32_t kAcross = 128, kAlong = 16 * kTileRows;  // groups of 8 x 8 inputs
  const int thread = static_cast<int>(threadIdx.x), panel = thread / 32;
  RingPlace ring;
#pragma unroll 1
  for (int item = blockIdx.x; item < task.items(); item += static_cast<int>(gridDim.x)) {
    BatchPlace place = BatchPlace::of<kBits>(task, item);
    float sums[kTileRows / 2];
#pragma unroll
    for (float& sum : sums) sum = 0.0f;
    uint32_t operands[2][2][4];       // of two halves of blocks, two steps of 16 columns each
    uint32_t before = memory.none();  // slot of the stage before this one
#pragma unroll 1
    for (; place.stage < place.end; ++place.stage) {
      wait(memory.full(ring.slot), ring.parity);
      const int halves = 2 * (task.blocks - place.stage * kStageBlocks);  // of blocks, that exist
      const Weights weights(task, memory.codes(ring.slot) + panel * kBatchCodeBytes,
                            memory.scales(ring.slot) + panel * memory.scale_bytes);
      const auto raw = weights.read();
      const uint64_t inputs = plain_operand(memory.inputs(ring.slot), kAlong, kAcross);
#pragma unroll
      for (int half = 0; half < Weights::kHalves; ++half) {
        if (half >= halves) break;
        weights.operands(raw, half, operands[half % 2]);
        fence_products();
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          multiply_async(sums, operands[half % 2][step],
                         inputs + (2 * half + step) * (2 * kAlong / 16));
        }
        commit_products();
        wait_products<1>();
        if (half == 0 && before != memory.none()) release(memory.empty(before));
      }
      before = ring.slot;
      ring.advance(task.stages);
    }
    wait_products<0>();
    fence_registers(sums);
    release(memory.empty(before));
#pragma unroll
    for (int j = 0; j < kTileRows / 8; ++j) {
      const float4 quad{sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]};
      if (task.slabs == 1) {
        finish_batch(task, place.row_tile, place.input_tile * kTileRows, thread, j, quad);
      } else {
        const int64_t at = (int64_t{item} * (kTileRows / 8) + j) * kBatchMultipliers + thread;
        reinterpret_cast<float4*>(task.workspace.partial)[at] = quad;
      }
    }
  }
}

// Adds up the slabs' sums, and finishes them: the items' tiles one after the other, by all blocks.
template <int kTileRows>
__device__ void sum_batch_slabs(const BatchTask& task) {
  constexpr int kQuads = kTileRows / 8 * kBatchMultipliers;  // of an item
  const auto* partial = reinterpret_cast<const float4*>(task.workspace.partial);
  const int all = task.row_tiles * task.input_tiles * kQuads;
  for (int i = static_cast<int>(blockIdx.x * kBatchMultipliers + threadIdx.x); i < all;
       i += static_cast<int>(gridDim.x * kBatchMultipliers)) {
    const int tile = i / kQuads, quad = i % kQuads;
    const int row_tile = tile / task.input_tiles, input_tile = tile % task.input_tiles;
    float4 sum{};
#pragma unroll 4
    for (int slab = 0; slab < task.slabs; ++slab) {
      const int item = (row_tile * task.slabs + slab) * task.input_tiles + input_tile;
      const float4 v = __ldcg(partial + int64_t{item} * kQuads + quad);
      sum = {sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w};
    }
    finish_batch(task, row_tile, input_tile * kTileRows, quad % kBatchMultipliers,
                 quad / kBatchMultipliers, sum);
  }
}

template <int kBits, BatchScales kScales, int kTileRows>
__global__ void __launch_bounds__(kBatchThreads, 1)
    multiply_batch_stream(const __grid_constant__ BatchTask task) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) std::byte shared[];
  let_successor_start();
  const BatchMemory<kBits, kTileRows> memory(task, shared);
  if (threadIdx.x == 0) {
    for (int slot = 0; slot < task.stages; ++slot) {
      init_barrier(memory.full(slot), kWarpgroup + 1);
      init_barrier(memory.empty(slot), kBatchMultipliers / 32);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x >= kBatchMultipliers) {
    give_registers<32>();
    BatchSource<kBits, kTileRows>(task, memory).run();
  } else {
    take_registers<112>();
    wait_for_predecessor();
    multiply_items<kBits, kScales, kTileRows>(task, memory);
    if (task.slabs == 1) return;
    meet_all_blocks(task.workspace.counters, kBatchMultipliers);
    sum_batch_slabs<kTileRows>(task);
  }
#endif
}

template <int kBits, BatchScales kScales, int kTileRows>
void launch_batch(const Stream& stream, BatchTask task) {
  const int stage = task.stage_bytes(kBits, kTileRows) + 16;  // and its barriers
  task.stages = std::min(stream.shared_memory / stage, kBatchMostStages);
  const int blocks = std::min(task.items(), stream.multiprocessors);
  launch(stream, multiply_batch_stream<kBits, kScales, kTileRows>, blocks, kBatchThreads,
         static_cast<size_t>(task.stages) * stage, task);
}

template <int kBits, BatchScales kScales>
void launch_batch(const Stream& stream, const BatchTask& task) {
  const int64_t rows = batch_tile_rows(task.rows);
  if (rows == 32) return launch_batch<kBits, kScales, 32>(stream, task);
  if (rows == 64) return launch_batch<kBits, kScales, 64>(stream, task);
  launch_batch<kBits, kScales, 128>(stream, task);
}

template <int kBits>
void launch_batch(const Stream& stream, const BatchTask& task, bool half_scales) {
  if (!half_scales) return launch_batch<kBits, BatchScales::any>(stream, task);
  if (task.symmetric) return launch_batch<kBits, BatchScales::half>(stream, task);
  launch_batch<kBits, BatchScales::half_minimums>(stream, task);
}

}  // namespace dinfer::cuda
