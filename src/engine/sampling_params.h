#pragma once

#include <cstdint>
#include <vector>

namespace dinfer {

struct TokenBias {
  int32_t id = -1;
  float value = 0;
  bool operator==(const TokenBias&) const = default;
};

// How a sequence's next token is chosen. The order is that of Hugging Face's generate(): penalties,
// then bias and bans, temperature, top-k, top-p, min-p; then one draw from what is left.
struct SamplingParams {
  float temperature = 1.0f;  // 0: the largest logit, lowest id on ties
  int32_t top_k = 0;         // keep the k largest; 0: all
  float top_p = 1.0f;        // keep the fewest largest whose probabilities reach this
  float min_p = 0.0f;        // keep those with at least this share of the largest probability
  float repetition_penalty = 1.0f;  // CTRL (arXiv:1909.05858): prompt and output; divides a
                                    // positive logit, multiplies a negative one
  float presence_penalty = 0.0f;    // subtracted once from tokens that the output has
  float frequency_penalty = 0.0f;   // subtracted for each time that the output has the token
  std::vector<TokenBias> bias;      // added to the logits of these tokens
  std::vector<int32_t> banned;      // never drawn for a position before `banned_before`
  int64_t banned_before = 0;
  uint64_t seed = 0;
  uint32_t stream = 0;  // independent draws under one seed: the n-th answer of a request

  bool greedy() const { return temperature <= 0.0f; }
  bool penalizes() const {
    return repetition_penalty != 1.0f || presence_penalty != 0.0f || frequency_penalty != 0.0f;
  }
  bool adjusts() const { return penalizes() || !bias.empty() || !banned.empty(); }
  bool truncates() const { return top_k > 0 || top_p < 1.0f || min_p > 0.0f; }
  bool operator==(const SamplingParams&) const = default;
};

}  // namespace dinfer
