#include "engine/vocab_slice.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engine/random.h"

namespace dinfer {

namespace {

// exp for x <= 0, relative error under 3e-7: no calls and no branches, so that loops over it
// vectorise. 2^n * p(r) with x = n log 2 + r, |r| <= log(2) / 2, p the Taylor polynomial of
// degree 6.
inline float exp_of_nonpositive(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x < -87.0f ? -87.0f : x;
  const float n = (x * 1.44269504f + kRound) - kRound;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // log 2 in two parts
  float p = 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
}

}  // namespace

void ExpSum::merge(const ExpSum& other) {
  if (other.sum == 0) return;
  if (sum == 0) {
    *this = other;
    return;
  }
  const float top = std::max(max, other.max);
  sum = sum * std::exp(double{max} - top) + other.sum * std::exp(double{other.max} - top);
  max = top;
}

double ExpSum::log() const { return max + std::log(sum); }

float max_of(std::span<const float> values) {
  float best = -std::numeric_limits<float>::infinity();
  for (float value : values) best = value > best ? value : best;
  return best;
}

bool all_finite(std::span<const float> values) {
  int bad = 0;
  for (float value : values) bad |= !(std::fabs(value) <= std::numeric_limits<float>::max());
  return bad == 0;
}

ExpSum exp_sum(std::span<const float> values, double scale) {
  if (values.empty()) return {};
  constexpr size_t kLanes = 16;  // partial sums, so that the additions are independent
  constexpr size_t kBlock = 4096;
  const auto factor = static_cast<float>(scale);
  ExpSum result{.max = max_of(values) * factor};
  for (size_t begin = 0; begin < values.size(); begin += kBlock) {
    const std::span<const float> block =
        values.subspan(begin, std::min(kBlock, values.size() - begin));
    float lanes[kLanes] = {};
    size_t i = 0;
    for (; i + kLanes <= block.size(); i += kLanes) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        lanes[lane] += exp_of_nonpositive(block[i + lane] * factor - result.max);
      }
    }
    for (; i < block.size(); ++i) lanes[0] += exp_of_nonpositive(block[i] * factor - result.max);
    for (float lane : lanes) result.sum += lane;
  }
  return result;
}

std::vector<Candidate> largest(std::span<const float> values, int32_t first_id, int64_t count) {
  std::vector<Candidate> kept;  // a heap with the last in rank order on top
  if (count <= 0 || values.empty()) return kept;
  if (count == 1) {  // two passes that vectorise
    const auto at = std::find(values.begin(), values.end(), max_of(values));
    const auto index = at == values.end() ? 0 : static_cast<int32_t>(at - values.begin());
    return {
        {values[static_cast<size_t>(index)], values[static_cast<size_t>(index)], first_id + index}};
  }
  for (size_t i = 0; i < values.size(); ++i) {
    const float value = values[i];
    const bool full = static_cast<int64_t>(kept.size()) == count;
    if (full && !(value > kept.front().value)) continue;
    if (full) {
      std::pop_heap(kept.begin(), kept.end(), ranks_before);
      kept.pop_back();
    }
    kept.push_back({value, value, first_id + static_cast<int32_t>(i)});
    std::push_heap(kept.begin(), kept.end(), ranks_before);
  }
  std::sort_heap(kept.begin(), kept.end(), ranks_before);
  return kept;
}

double gumbel(uint32_t word) { return -std::log(-std::log((word + 0.5) * 0x1p-32)); }

NoisyBest noisy_best(std::span<const float> values, int32_t first_id, const SamplingParams& params,
                     int64_t position) {
  TokenNoise noise(params.seed, params.stream, position);
  NoisyBest best;
  for (size_t i = 0; i < values.size(); ++i) {
    const int32_t id = first_id + static_cast<int32_t>(i);
    const double logit = double{values[i]} / params.temperature;
    const uint32_t word = noise.word(id);
    // Only noise above best - logit wins. That needs -log(u) < exp(logit - best), and 1 - u is
    // never above -log(u): a cheap test that most tokens fail. The factor covers its rounding.
    const float reach = 1.001f * std::exp(static_cast<float>(logit - best.score));
    if (static_cast<float>(~word) * 0x1p-32f > reach) continue;
    const double score = logit + gumbel(word);
    if (score > best.score) best = {score, id};
  }
  return best;
}

std::vector<std::pair<int32_t, float>> penalize(std::span<float> values, int32_t first_id,
                                                const SamplingParams& params,
                                                const TokenCounts& counts) {
  std::vector<std::pair<int32_t, float>> before;
  for (const auto& [id, in_output] : counts) {
    const int64_t at = int64_t{id} - first_id;
    if (at < 0 || at >= static_cast<int64_t>(values.size())) continue;
    float& value = values[static_cast<size_t>(at)];
    before.emplace_back(id, value);
    value = value > 0 ? value / params.repetition_penalty : value * params.repetition_penalty;
    if (in_output > 0) {
      value -= params.presence_penalty + params.frequency_penalty * static_cast<float>(in_output);
    }
  }
  return before;
}

}  // namespace dinfer
