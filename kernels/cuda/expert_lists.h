#pragma once

#include <cstdint>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"

namespace dinfer::cuda {

// A slot is a row together with one of the experts that it chose: number row * chosen + place,
// where places are in the order of falling scores.

// Slots of one expert that are multiplied together: `count` of the list from `first` on.
struct ExpertTile {
  int32_t expert, first, count;
};

// Which rows go to which experts, in device memory.
struct ExpertLists {
  int32_t* experts = nullptr;  // [slots] the slot's expert
  float* weights = nullptr;    // [slots] and its weight
  int32_t* slots = nullptr;    // [slots] their numbers, those of an expert together and in order
  ExpertTile* tiles = nullptr;
  int32_t* tile_count = nullptr;
};

// At most so many tiles of up to `tile_rows` slots; no fewer where every expert is chosen.
constexpr int64_t most_expert_tiles(int64_t slots, int64_t experts, int64_t tile_rows) {
  const int64_t all = experts + slots / tile_rows;
  return slots < all ? slots : all;
}

// What a router is asked, and what its experts are to be given.
struct Routing {
  const float* in = nullptr;  // [rows, hidden]
  int rows = 0;
  int hidden = 0;
  const float* norm = nullptr;
  float epsilon = 0.0f;
  PackedMatrix router;  // [experts, hidden], dense
  int experts = 0;      // up to kMostExperts
  int chosen = 0;
  bool normalized = true;
  int tile_rows = 0;
  float* scores = nullptr;  // [rows, experts]
  Packing input_type = Packing::bf16;
  void* inputs = nullptr;  // [rows, input_width] of it
  int input_width = 0;
};

// Scores x = rms_norm(in) * norm in f32, chooses, and lists what was chosen: the same lists at
// every call. Makes inputs of x, with zeros past `hidden`; f16 saturates.
void route(const Stream& stream, const Routing& routing, const ExpertLists& lists);

}  // namespace dinfer::cuda
