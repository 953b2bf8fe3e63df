#pragma once

#include <cstdint>
#include <span>

namespace dinfer {

// Choosing one value of a row: what Device::pick does, and the arithmetic of it on the host.
// `first_id` is the id of element 0.

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

// How a value is chosen.
struct RowDraw {
  float temperature = 0.0f;  // 0: the largest value, lowest id on ties; else arg-max of
                             // value / temperature + gumbel(word of TokenNoise)
  uint32_t stream = 0;       // of the noise, as the two that follow
  uint64_t seed = 0;
  int64_t position = 0;
  bool sums = false;                       // exp_sum of the row is wanted
  std::span<const uint64_t> allowed = {};  // TokenMask of ids; empty: any may be chosen
};

struct RowPick {
  int32_t id = -1;   // -1: none of these values is allowed
  float value = 0;   // at id
  double score = 0;  // with noise
  ExpSum sum;
  bool finite = true;  // all values
};

// The noise that turns an arg-max into a draw: -log(-log(u)), u = (word + 1/2) / 2^32.
double gumbel(uint32_t word);

struct NoisyBest {
  double score = -__builtin_inf();
  int32_t id = -1;
};

// Arg-max of value / temperature + noise; temperature > 0.
NoisyBest noisy_best(std::span<const float> values, int32_t first_id, const RowDraw& draw);

// Makes all values -infinity but those of allowed ids.
void keep_allowed(std::span<float> values, int32_t first_id, std::span<const uint64_t> allowed);

// What Device::pick gives for one row, on the host.
RowPick pick_from(std::span<const float> values, int32_t first_id, const RowDraw& draw);

}  // namespace dinfer
