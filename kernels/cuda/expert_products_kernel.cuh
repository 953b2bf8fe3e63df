#pragma once

#include <algorithm>

#include "kernels/cuda/expert_finish.cuh"
#include "kernels/cuda/expert_weights.cuh"

namespace dinfer::cuda {

constexpr int kExpertMostStages = 3;

// How a block's warps share a tile of up to kSlots slots.
template <int kSlots>
struct ExpertWarps {
  static constexpr int kWarps = kSlots <= kLargerExpertTile ? 4 : 8, kThreads = 32 * kWarps;
  // Warps that share the same panels' columns, and panels of each half.
  static constexpr int kAlong = kSlots <= kExpertTile ? 4 : kSlots <= kLargerExpertTile ? 2 : 1;
  static constexpr int kPanels = kWarps / kAlong;
  // Blocks on a multiprocessor.
  static constexpr int kBlocks = kSlots <= kExpertTile ? 4 : kSlots <= kLargerExpertTile ? 3 : 1;
  static constexpr int kQuads = kSlots / 8;                // of sums of a thread and panel
  static constexpr int kAtOnce = kQuads < 4 ? kQuads : 4;  // of them that are multiplied together

  // Sums pass through shared memory beside the stages: those of warps that are not the first of
  // theirs along the columns, and then all, by slots.
  static constexpr int kSumFloats = 32 * 8 * kQuads;         // of a warp
  static constexpr int kFinished = kQuads < 2 ? kQuads : 2;  // quads at a time
  static constexpr int kSlotFloats = 16 + 4;                 // writes meet different banks
  static constexpr int kHalfFloats = 8 * kFinished * kSlotFloats;
  static constexpr int kPanelFloats = (kAlong - 1) * kSumFloats + 2 * kHalfFloats;
};

// Sums of a warp: of its lower and its upper panel.
template <int kSlots>
struct ExpertSums {
  float halves[2][ExpertWarps<kSlots>::kQuads][4] = {};
};

// A stage is a unit of columns for each of the warps along them: weights of all warps, and then the
// inputs [along][slots].
template <class Weights, int kSlots>
struct ExpertStages {
  using W = ExpertWarps<kSlots>;
  int weight_bytes;  // of a warp and stage
  __host__ __device__ explicit ExpertStages(const BatchCodes& weight)
      : weight_bytes(Weights::unit_bytes(weight)) {}
  __host__ __device__ int inputs() const { return W::kWarps * weight_bytes; }
  __host__ __device__ int bytes() const { return inputs() + W::kAlong * kSlots * Weights::kPitch; }
};

// Copies the tile's inputs of a stage, by all threads. `rows`: where each slot's are.
template <class Weights, int kSlots>
__device__ void fetch_inputs(const ExpertProduct& product, const int* rows, int slots, int stage,
                             uint32_t to) {
  using W = ExpertWarps<kSlots>;
  constexpr int kPieces = Weights::kUnitBytes / 16;
  const int row_bytes = product.weight.blocks * static_cast<int>(kColumnBlock) * 2;
  const auto* inputs = static_cast<const std::byte*>(product.inputs);
#pragma unroll
  for (int i = 0; i < W::kAlong * kSlots * kPieces; i += W::kThreads) {
    const int piece = (i + static_cast<int>(threadIdx.x)) % kPieces;
    const int line = (i + static_cast<int>(threadIdx.x)) / kPieces;
    const int slot = line % kSlots;
    const int at = (stage * W::kAlong + line / kSlots) * Weights::kUnitBytes + 16 * piece;
    if (slot >= slots || at >= row_bytes) continue;
    copy_async(to + line * Weights::kPitch + 16 * piece,
               inputs + int64_t{rows[slot]} * row_bytes + at);
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
// `memory`: of the warps that have the same panels.
template <int kSlots>
__device__ void sum_along(float* memory, int along, ExpertSums<kSlots>& sums) {
  using W = ExpertWarps<kSlots>;
  const int lane = threadIdx.x % 32;
  const auto each = [&](int other, const auto& take) {
#pragma unroll
    for (int i = 0; i < 8 * W::kQuads; ++i) {
      take(sums.halves[i % 2][i / 8][i / 2 % 4],
           memory[(other - 1) * W::kSumFloats + 32 * i + lane]);
    }
  };
  if (along > 0) each(along, [](float sum, float& to) { to = sum; });
  __syncthreads();
  if (along > 0) return;
#pragma unroll
  for (int other = 1; other < W::kAlong; ++other) {
    each(other, [](float& sum, float from) { sum += from; });
  }
}

// Finishes a warp's sums, rows side by side: 16 of one slot, 16 of the next.
template <class Number, int kSlots>
__device__ void finish_slots(const ExpertProduct& product, const ExpertTile& tile, const int* slots,
                             int panel, float* memory, const ExpertSums<kSlots>& sums) {
  using W = ExpertWarps<kSlots>;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int quad = 0; quad < W::kQuads; quad += W::kFinished) {
    const int first = 8 * quad, count = min(tile.count - first, 8 * W::kFinished);
    if (count <= 0) break;
#pragma unroll
    for (int i = 0; i < 8 * W::kFinished; ++i) {
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

// Where a block is in its work: a stage of a set of W::kPanels panels.
struct ExpertPlace {
  int set, stage = 0;
  __device__ void advance(int stages) {
    if (++stage == stages) stage = 0, ++set;
  }
};

// A block takes `sets` sets of panels. Of the two products, the second brings weights while the
// first still runs: the lists are there by then, since the first lets no successor start before it
// has waited for them.
template <class Weights, int kSlots>
__global__ void __launch_bounds__(ExpertWarps<kSlots>::kThreads, ExpertWarps<kSlots>::kBlocks)
    multiply_expert_tiles(const __grid_constant__ ExpertProduct product, int ring, int sets) {
  using W = ExpertWarps<kSlots>;
  extern __shared__ __align__(128) std::byte shared[];
  __shared__ int slots[kSlots], rows[kSlots];  // numbers, and where inputs are
  if (!product.out) wait_for_predecessor();
  let_successor_start();
  const ExpertTile* from = product.lists.tiles + blockIdx.x;
  const ExpertTile tile{__ldcg(&from->expert), __ldcg(&from->first), __ldcg(&from->count)};
  if (static_cast<int>(blockIdx.x) >= __ldcg(product.lists.tile_count)) return;

  const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
  const int along = warp % W::kAlong, own = warp / W::kAlong;  // panel of a set
  const ExpertStages<Weights, kSlots> memory(product.weight);
  const int units = (product.weight.blocks + Weights::kUnitBlocks - 1) / Weights::kUnitBlocks;
  const int stages = (units + W::kAlong - 1) / W::kAlong;
  const int first = static_cast<int>(blockIdx.y) * sets;
  const int end = min(first + sets, (product.panels() + W::kPanels - 1) / W::kPanels);
  const uint32_t ring_memory = shared_address(shared);
  auto* sum_memory =
      reinterpret_cast<float*>(shared + ring * memory.bytes()) + own * W::kPanelFloats;
  const auto has_unit = [&](const ExpertPlace& place) {
    return place.set < end && place.set * W::kPanels + own < product.half_panels &&
           place.stage * W::kAlong + along < units;
  };
  const auto weights_of = [&](int slot) {
    return ring_memory + slot * memory.bytes() + warp * memory.weight_bytes;
  };
  const auto inputs_of = [&](int slot) {
    return ring_memory + slot * memory.bytes() + memory.inputs();
  };
  const auto fetch_weights = [&](const ExpertPlace& place, int slot) {
    if (!has_unit(place)) return;
    Weights(product, tile.expert, place.set * W::kPanels + own)
        .fetch(product, place.stage * W::kAlong + along, weights_of(slot));
  };
  const auto fetch_rest = [&](const ExpertPlace& place, int slot) {
    if (place.set < end) {
      fetch_inputs<Weights, kSlots>(product, rows, tile.count, place.stage, inputs_of(slot));
    }
    commit_copies();
  };

  ExpertPlace ahead{first};
  for (int slot = 0; slot < ring; ++slot) {
    fetch_weights(ahead, slot);
    ahead.advance(stages);
  }
  if (product.out) wait_for_predecessor();
  if (thread < tile.count) {
    slots[thread] = product.lists.slots[tile.first + thread];
    rows[thread] = product.out ? tile.first + thread : slots[thread] / product.chosen;
  }
  __syncthreads();
  ahead = {first};
  for (int slot = 0; slot < ring; ++slot) {
    fetch_rest(ahead, slot);
    ahead.advance(stages);
  }

  int slot = 0;
#pragma unroll 1
  for (int set = first; set < end; ++set) {
    ExpertSums<kSlots> sums;
#pragma unroll 1
    for (ExpertPlace place{set}; place.set == set; place.advance(stages)) {
      if (ring == kExpertMostStages) {
        wait_copies<kExpertMostStages - 1>();
      } else {
        wait_copies<kExpertMostStages - 2>();
      }
      __syncthreads();
      if (has_unit(place)) {
        const int unit = place.stage * W::kAlong + along;
        multiply_unit<Weights, kSlots>(
            product, weights_of(slot), inputs_of(slot) + along * kSlots * Weights::kPitch,
            min(Weights::kUnitBlocks, product.weight.blocks - unit * Weights::kUnitBlocks),
            tile.count, sums);
      }
      __syncthreads();
      fetch_weights(ahead, slot);
      fetch_rest(ahead, slot);
      ahead.advance(stages);
      slot = slot + 1 == ring ? 0 : slot + 1;
    }
    if constexpr (W::kAlong > 1) sum_along<kSlots>(sum_memory, along, sums);
    if (along == 0) {
      finish_slots<typename Weights::Number, kSlots>(product, tile, slots, set * W::kPanels + own,
                                                     sum_memory + (W::kAlong - 1) * W::kSumFloats,
                                                     sums);
    }
  }
}

template <class Weights, int kSlots>
void launch_expert_tiles(const Stream& stream, const ExpertProduct& product) {
  using W = ExpertWarps<kSlots>;
  const int stage = ExpertStages<Weights, kSlots>(product.weight).bytes();
  const int sum_bytes = W::kPanels * W::kPanelFloats * static_cast<int>(sizeof(float));
  const int slot_bytes = 2 * kSlots * static_cast<int>(sizeof(int));
  const int room = stream.shared_memory_for(W::kBlocks) - slot_bytes - sum_bytes;
  const int ring = std::clamp(room / stage, 2, kExpertMostStages);
  // Where warps share columns, reading is what takes time: it pauses where a block begins, so there
  // are no more blocks than even out.
  const int all_sets = (product.panels() + W::kPanels - 1) / W::kPanels;
  const int64_t blocks = int64_t{2} * W::kBlocks * stream.multiprocessors;
  const int64_t even = int64_t{product.expected_tiles} * all_sets / blocks;
  const int sets = W::kAlong == 1 ? 1 : static_cast<int>(std::clamp<int64_t>(even, 1, all_sets));
  const dim3 grid(product.most_tiles, (all_sets + sets - 1) / sets);
  launch(stream, multiply_expert_tiles<Weights, kSlots>, grid, W::kThreads,
         static_cast<size_t>(ring) * stage + sum_bytes, product, ring, sets);
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
