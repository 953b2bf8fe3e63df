#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

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

// A maximum with sum of exp(x - max): the parts of a log-sum-exp, which can be merged.
struct ExpSum {
  float max = -__builtin_inff();
  double sum = 0;

  void merge(const ExpSum& other);
  double log() const;
};

// Largest value; NaN is passed over. Empty: -infinity.
float max_of(std::span<const float> values);

bool all_finite(std::span<const float> values);

// Of scale * values.
ExpSum exp_sum(std::span<const float> values, double scale);

// The `count` first in rank order.
std::vector<Candidate> largest(std::span<const float> values, int32_t first_id, int64_t count);

// The noise that turns an arg-max into a draw: -log(-log(u)), u = (word + 1/2) / 2^32.
double gumbel(uint32_t word);

struct NoisyBest {
  double score = -__builtin_inf();
  int32_t id = -1;
};

// Arg-max of value / temperature + noise over the whole slice.
NoisyBest noisy_best(std::span<const float> values, int32_t first_id, const SamplingParams& params,
                     int64_t position);

// Applies the penalties in place; returns (id, logit before) of what was changed.
std::vector<std::pair<int32_t, float>> penalize(std::span<float> values, int32_t first_id,
                                                const SamplingParams& params,
                                                const TokenCounts& counts);

}  // namespace dinfer
