#include "device/row_pick.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "base/random.h"
#include "base/token_mask.h"

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
  if (result.max == -std::numeric_limits<float>::infinity()) return {};
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

double gumbel(uint32_t word) { return -std::log(-std::log((word + 0.5) * 0x1p-32)); }

NoisyBest noisy_best(std::span<const float> values, int32_t first_id, const RowDraw& draw) {
  TokenNoise noise(draw.seed, draw.stream, draw.position);
  NoisyBest best;
  for (size_t i = 0; i < values.size(); ++i) {
    const int32_t id = first_id + static_cast<int32_t>(i);
    const double logit = double{values[i]} / draw.temperature;
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

void keep_allowed(std::span<float> values, int32_t first_id, std::span<const uint64_t> allowed) {
  for (size_t i = 0; i < values.size(); ++i) {
    if (!contains(allowed, first_id + static_cast<int64_t>(i)))
      values[i] = -std::numeric_limits<float>::infinity();
  }
}

RowPick pick_from(std::span<const float> values, int32_t first_id, const RowDraw& draw) {
  RowPick pick{.finite = all_finite(values)};
  if (values.empty()) return pick;
  if (draw.sums) pick.sum = exp_sum(values, 1.0);
  std::vector<float> kept;
  if (!draw.allowed.empty()) {
    kept.assign(values.begin(), values.end());
    keep_allowed(kept, first_id, draw.allowed);
    values = kept;
    if (max_of(values) == -std::numeric_limits<float>::infinity()) return pick;
  }
  if (draw.temperature > 0.0f) {
    const NoisyBest best = noisy_best(values, first_id, draw);
    pick.id = best.id;
    pick.score = best.score;
  } else {
    const auto at = std::find(values.begin(), values.end(), max_of(values));
    if (at != values.end()) pick.id = first_id + static_cast<int32_t>(at - values.begin());
  }
  if (pick.id >= 0) pick.value = values[static_cast<size_t>(pick.id - first_id)];
  return pick;
}

}  // namespace dinfer
