#pragma once

#include <algorithm>

#include "kernels/cuda/expert_finish.cuh"
#include "kernels/cuda/expert_weights.cuh"

namespace dinfer::cuda {

constexpr int kExpertMostStages = 3;

// How a block's warps share a tile of up to kSlots slots.
template <int kSlots>
struct ExpertWarps {
  static constexpr int kWarps = kSlots <= kExpertTile ? 4 : 8, kThreads = 32 * kWarps;
  // Warps that share the same panels' columns, and panels of each half.
  static constexpr int kAlong = kSlots <= kExpertTile ? 4 : kSlots <= kLargerExpertTile ? 2 : 1;
  static constexpr int kPanels = kWarps / kAlong;
  // Blocks on a multiprocessor.
  static constexpr int kBlocks = kSlots <= kExpertTile ? 4 : kSlots <= kLargerExpertTile ? 2 : 1;
  static constexpr int kQuads = kSlots / 8;                // of sums of a thread and panel
  static constexpr int kAtOnce = kQuads < 4 ? kQuads : 4;  // of them that are worked on together

  // Sums pass through shared memory when all stages have been read: those of all warps as they are
  // in registers, and then each warp's by slots.
  static constexpr int kSumFloats = kAlong > 1 ? 32 * 8 * kQuads : 0;
  static constexpr int kSlotFloats = 16 + 4;  // of a slot and panel: writes meet different banks
  static constexpr int kHalfFloats = 8 * kAtOnce * kSlotFloats;
};

// Sums of a warp: of its lower and its upper panel.
template <int kSlots>
struct ExpertSums {
  float halves[2][ExpertWarps<kSlots>::kQuads][4] = {};
};

// A stage is a unit of columns for each of the warps along them: weights [panels][along], and then
// the inputs [along][slots].
template <class Weights, int kSlots>
struct ExpertStages {
  using W = ExpertWarps<kSlots>;
  int weight_bytes;  // of two panels
  __host__ __device__ explicit ExpertStages(const BatchCodes& weight)
      : weight_bytes(Weights::unit_bytes(weight)) {}
  __host__ __device__ int inputs() const { return W::kPanels * W::kAlong * weight_bytes; }
  __host__ __device__ int bytes() const { return inputs() + W::kAlong * kSlots * Weights::kPitch; }
};

// Warps that have the same columns share inputs, and wait for each other.
template <int kSlots>
__device__ void meet_sharers() {
  if constexpr (ExpertWarps<kSlots>::kPanels == 1) {
    __syncwarp();
  } else {
    __syncthreads();
  }
}

// Copies the tile's inputs of a stage, each warp with those that share them: `along` tells which.
// `rows`: where each slot's are.
template <class Weights, int kSlots>
__device__ void fetch_inputs(const ExpertProduct& product, int along, const int* rows, int slots,
                             int stage, uint32_t to) {
  using W = ExpertWarps<kSlots>;
  constexpr int kPieces = Weights::kUnitBytes / 16;
  const int row_bytes = product.weight.blocks * static_cast<int>(kColumnBlock) * 2;
  const auto* inputs = static_cast<const std::byte*>(product.inputs);
  const int sharer = static_cast<int>(threadIdx.x) / 32 / W::kAlong;
  const int thread = sharer * 32 + static_cast<int>(threadIdx.x) % 32;
  const int first = (stage * W::kAlong + along) * Weights::kUnitBytes;
  to += along * kSlots * Weights::kPitch;
#pragma unroll
  for (int i = 0; i < kSlots * kPieces; i += 32 * W::kPanels) {
    const int piece = (i + thread) % kPieces, slot = (i + thread) / kPieces;
    if (slot >= slots || first + 16 * piece >= row_bytes) continue;
    copy_async(to + slot * Weights::kPitch + 16 * piece,
               inputs + int64_t{rows[slot]} * row_bytes + first + 16 * piece);
  }
}

// A warp's part of a stage. Slots are taken up to 32 at a time, the next ones brought meanwhile:
// what the tile lacks is left out.
template <class Weights, int kSlots>
__device__ void multiply_unit(const ExpertProduct& product, uint32_t weights, uint32_t inputs,
                              int blocks, int slots, ExpertSums<kSlots>& sums) {
  constexpr int kQuads = ExpertWarps<kSlots>::kQuads, kAtOnce = ExpertWarps<kSlots>::kAtOnce;
  const uint32_t own = inputs + threadIdx.x % 32 / 4 * Weights::kPitch + threadIdx.x % 4 * 8;
  Weights::each_step(product, weights, blocks,
                     [&](int step, const uint32_t(&lower)[4], const uint32_t(&upper)[4]) {
                       uint2 operands[2][kAtOnce];
                       const auto load = [&](int first) {
#pragma unroll
                         for (int i = 0; i < kAtOnce; ++i) {
                           operands[first / kAtOnce % 2][i] = load_shared_pair(
                               own + 8 * (first + i) * Weights::kPitch + 32 * step);
                         }
                       };
                       load(0);
#pragma unroll
                       for (int first = 0; first < kQuads; first += kAtOnce) {
                         if (first + kAtOnce < kQuads) load(first + kAtOnce);
#pragma unroll
                         for (int i = 0; i < kAtOnce; ++i) {
                           const uint2 operand = operands[first / kAtOnce % 2][i];
                           Weights::multiply(sums.halves[0][first + i], lower, operand);
                           Weights::multiply(sums.halves[1][first + i], upper, operand);
                         }
                         if (8 * (first + kAtOnce) >= slots) break;
                       }
                     });
}

// Adds up the sums of the warps along the columns, in their order: the first of them has all.
template <int kSlots>
__device__ void sum_along(float* memory, ExpertSums<kSlots>& sums) {
  using W = ExpertWarps<kSlots>;
  const int lane = threadIdx.x % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const auto each = [&](int of_warp, const auto& take) {
#pragma unroll
    for (int i = 0; i < 8 * W::kQuads; ++i) {
      take(sums.halves[i % 2][i / 8][i / 2 % 4], memory[of_warp * W::kSumFloats + 32 * i + lane]);
    }
  };
  __syncthreads();  // stages have been read
  if (warp % W::kAlong > 0) each(warp, [](float sum, float& to) { to = sum; });
  __syncthreads();
  if (warp % W::kAlong > 0) return;
#pragma unroll
  for (int i = 1; i < W::kAlong; ++i) each(warp + i, [](float& sum, float from) { sum += from; });
}

// Finishes a warp's sums, rows side by side: 16 of one slot, 16 of the next.
template <class Number, int kSlots>
__device__ void finish_slots(const ExpertProduct& product, const ExpertTile& tile, const int* slots,
                             int panel, float* memory, const ExpertSums<kSlots>& sums) {
  using W = ExpertWarps<kSlots>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int quad = 0; quad < W::kQuads; quad += W::kAtOnce) {
    const int first = 8 * quad, count = min(tile.count - first, 8 * W::kAtOnce);
    if (count <= 0) break;
#pragma unroll
    for (int i = 0; i < 8 * W::kAtOnce; ++i) {
      const int half = i % 2, n = i / 8 * 8 + lane % 4 * 2 + i / 2 % 2;
      const int row = lane / 4 + i / 4 % 2 * 8;
      memory[half * W::kHalfFloats + n * W::kSlotFloats + row] =
          sums.halves[half][quad + i / 8][i / 2 % 4];
    }
    __syncwarp();
#pragma unroll 1
    for (int n = lane / 16; n < count; n += 2) {
      const float* own = memory + n * W::kSlotFloats + lane % 16;
      finish_slot<Number>(product, panel * static_cast<int>(kPanel) + lane % 16,
                          tile.first + first + n, slots[first + n], own[0], own[W::kHalfFloats]);
    }
    __syncwarp();
  }
}

// Of the two products, the second brings weights while the first still runs: the lists are there by
// then, since the first lets no successor start before it has waited for them.
template <class Weights, int kSlots>
__global__ void __launch_bounds__(ExpertWarps<kSlots>::kThreads, ExpertWarps<kSlots>::kBlocks)
    multiply_expert_tiles(const __grid_constant__ ExpertProduct product, int ring) {
  using W = ExpertWarps<kSlots>;
  extern __shared__ __align__(128) std::byte shared[];
  __shared__ int slots[kSlots], rows[kSlots];  // numbers, and where inputs are
  if (!product.out) wait_for_predecessor();
  let_successor_start();
  const ExpertTile* from = product.lists.tiles + blockIdx.x;
  const ExpertTile tile{__ldcg(&from->expert), __ldcg(&from->first), __ldcg(&from->count)};
  if (static_cast<int>(blockIdx.x) >= __ldcg(product.lists.tile_count)) return;

  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int along = warp % W::kAlong;
  const int panel = static_cast<int>(blockIdx.y) * W::kPanels + warp / W::kAlong;
  const ExpertStages<Weights, kSlots> memory(product.weight);
  const int stage_bytes = memory.bytes();
  const int units = (product.weight.blocks + Weights::kUnitBlocks - 1) / Weights::kUnitBlocks;
  const int stages = (units + W::kAlong - 1) / W::kAlong;
  const Weights weights(product, tile.expert, panel);
  const auto multiplies = [&](int stage) {
    return panel < product.half_panels && stage * W::kAlong + along < units;
  };
  const auto weights_of = [&](int slot) {
    return shared_address(shared) + slot * stage_bytes + warp * memory.weight_bytes;
  };
  const auto inputs_of = [&](int slot) {
    return shared_address(shared) + slot * stage_bytes + memory.inputs();
  };
  const auto fetch_weights = [&](int stage, int slot) {
    if (multiplies(stage)) weights.fetch(product, stage * W::kAlong + along, weights_of(slot));
  };
  const auto fetch_rest = [&](int stage, int slot) {
    if (stage < stages) {
      fetch_inputs<Weights, kSlots>(product, along, rows, tile.count, stage, inputs_of(slot));
    }
    commit_copies();
  };

  for (int stage = 0; stage < ring; ++stage) fetch_weights(stage, stage);
  if (product.out) wait_for_predecessor();
  if (thread < tile.count) {
    slots[thread] = product.lists.slots[tile.first + thread];
    rows[thread] = product.out ? tile.first + thread : slots[thread] / product.chosen;
  }
  __syncthreads();
  for (int stage = 0; stage < ring; ++stage) fetch_rest(stage, stage);

  ExpertSums<kSlots> sums;
  int slot = 0;
#pragma unroll 1
  for (int stage = 0; stage < stages; ++stage) {
    static_assert(kExpertMostStages == 3);
    if (ring == 3) {
      wait_copies<2>();
    } else if (ring == 2) {
      wait_copies<1>();
    } else {
      wait_copies<0>();
    }
    meet_sharers<kSlots>();
    if (multiplies(stage)) {
      const int unit = stage * W::kAlong + along;
      multiply_unit<Weights, kSlots>(
          product, weights_of(slot), inputs_of(slot) + along * kSlots * Weights::kPitch,
          min(Weights::kUnitBlocks, product.weight.blocks - unit * Weights::kUnitBlocks),
          tile.count, sums);
    }
    meet_sharers<kSlots>();
    fetch_weights(stage + ring, slot);
    fetch_rest(stage + ring, slot);
    slot = slot + 1 == ring ? 0 : slot + 1;
  }
  if constexpr (W::kAlong > 1) {
    sum_along<kSlots>(reinterpret_cast<float*>(shared), sums);
    if (along > 0) return;
  }
  auto* sum_memory = reinterpret_cast<float*>(shared) + W::kWarps * W::kSumFloats;
  finish_slots<typename Weights::Number, kSlots>(product, tile, slots, panel,
                                                 sum_memory + warp * 2 * W::kHalfFloats, sums);
}

template <class Weights, int kSlots>
void launch_expert_tiles(const Stream& stream, const ExpertProduct& product) {
  using W = ExpertWarps<kSlots>;
  const int stage = ExpertStages<Weights, kSlots>(product.weight).bytes();
  const int slot_bytes = 2 * kSlots * static_cast<int>(sizeof(int));
  const int room = stream.shared_memory_for(W::kBlocks) - slot_bytes;
  // Two stages are worth a block less on a multiprocessor, where one can have so much.
  const int least = stream.shared_memory - slot_bytes >= 2 * stage ? 2 : 1;
  const int ring = std::clamp(room / stage, least, kExpertMostStages);
  const int sum_bytes =
      W::kWarps * (W::kSumFloats + 2 * W::kHalfFloats) * static_cast<int>(sizeof(float));
  const dim3 grid(product.most_tiles, (product.panels() + W::kPanels - 1) / W::kPanels);
  launch(stream, multiply_expert_tiles<Weights, kSlots>, grid, W::kThreads,
         static_cast<size_t>(std::max(ring * stage, sum_bytes)), product, ring);
}

template <class Weights>
void launch_expert_tiles(const Stream& stream, const ExpertProduct& product) {
  if (product.tile_rows == kExpertTile) {
    return launch_expert_tiles<Weights, kExpertTile>(stream, product);
  }
  if (product.tile_rows == kLargerExpertTile) {
    return launch_expert_tiles<Weights, kLargerExpertTile>(stream, product);
  }
  launch_expert_tiles<Weights, kLargestExpertTile>(stream, product);
}

template <int kBits>
void launch_grouped_experts(const Stream& stream, const ExpertProduct& product) {
  if (!product.half_scales) {
    launch_expert_tiles<GroupedExperts<kBits, BatchScales::any>>(stream, product);
  } else if (product.weight.symmetric) {
    launch_expert_tiles<GroupedExperts<kBits, BatchScales::half>>(stream, product);
  } else {
    launch_expert_tiles<GroupedExperts<kBits, BatchScales::half_minimums>>(stream, product);
  }
}

}  // namespace dinfer::cuda
