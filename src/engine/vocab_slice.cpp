#include "engine/vocab_slice.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace dinfer {

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

namespace {

// A slice of logits that notes what it changes.
class Adjuster {
 public:
  Adjuster(std::span<float> values, int32_t first_id) : values_(values), first_id_(first_id) {}

  template <class Change>
  void apply(int32_t id, Change change) {
    const int64_t at = int64_t{id} - first_id_;
    if (at < 0 || at >= static_cast<int64_t>(values_.size())) return;
    float& value = values_[static_cast<size_t>(at)];
    changes_.emplace_back(id, value);
    value = change(value);
  }

  LogitChanges take() { return std::move(changes_); }

 private:
  std::span<float> values_;
  int32_t first_id_;
  LogitChanges changes_;
};

}  // namespace

LogitChanges adjust(std::span<float> values, int32_t first_id, const SamplingParams& params,
                    const TokenCounts* counts, int64_t position) {
  Adjuster adjuster(values, first_id);
  if (params.penalizes()) {
    for (const auto& [id, in_output] : *counts) {
      adjuster.apply(id, [&](float value) {
        value = value > 0 ? value / params.repetition_penalty : value * params.repetition_penalty;
        const auto times = static_cast<float>(in_output);
        return in_output > 0 ? value - (params.presence_penalty + params.frequency_penalty * times)
                             : value;
      });
    }
  }
  for (const TokenBias& bias : params.bias) {
    adjuster.apply(bias.id, [&](float value) { return value + bias.value; });
  }
  if (position < params.banned_before) {
    for (const int32_t id : params.banned) {
      adjuster.apply(id, [](float) { return -std::numeric_limits<float>::infinity(); });
    }
  }
  return adjuster.take();
}

void restore(std::span<float> values, int32_t first_id, const LogitChanges& changes) {
  for (auto it = changes.rbegin(); it != changes.rend(); ++it) {
    values[static_cast<size_t>(it->first - first_id)] = it->second;
  }
}

}  // namespace dinfer
