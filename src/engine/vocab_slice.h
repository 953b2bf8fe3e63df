#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "device/row_pick.h"
#include "engine/sampling_params.h"
#include "engine/token_counts.h"

namespace dinfer {

// Arithmetic on one rank's slice of a row of logits: the local half of sampling. `first_id` is the
// token id of element 0.

// A token with its logit after penalties (what is ranked) and as the model gave it.
struct Candidate {
  float value = 0;
  float raw = 0;
  int32_t id = -1;  // -1: no candidate
};

// Larger value first, then lower id.
inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

// The `count` first in rank order.
std::vector<Candidate> largest(std::span<const float> values, int32_t first_id, int64_t count);

// What was done to logits: (id, logit before), in the order of the changes.
using LogitChanges = std::vector<std::pair<int32_t, float>>;

// Applies penalties, bias and bans in place. `counts` is read where the penalties need it.
LogitChanges adjust(std::span<float> values, int32_t first_id, const SamplingParams& params,
                    const TokenCounts* counts, int64_t position);

// Takes the changes back.
void restore(std::span<float> values, int32_t first_id, const LogitChanges& changes);

}  // namespace dinfer
