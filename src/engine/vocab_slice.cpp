#include "engine/vocab_slice.h"

#include <algorithm>

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
