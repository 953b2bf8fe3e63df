#include "base/nearest.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace dinfer {

namespace {

// Edit distance where exchanging two neighbours, the commonest slip, costs 1 and inserting,
// deleting or replacing a letter 2. Three rows of the usual table at a time.
size_t edit_cost(std::string_view a, std::string_view b) {
  std::vector<size_t> before, above, row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = 2 * j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before = std::exchange(above, row);
    row[0] = 2 * i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 2);
      row[j] = std::min({replaced, above[j] + 2, row[j - 1] + 2});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest(std::string_view word, std::span<const std::string> candidates) {
  constexpr size_t kLongestWord = 64;  // nobody meant a longer one
  if (word.empty() || word.size() > kLongestWord) return "";
  std::string best;
  size_t best_cost = 2 * std::max<size_t>(1, word.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    const bool abbreviated = word.size() >= 3 && candidate.starts_with(word);
    const size_t cost = abbreviated ? 0 : edit_cost(word, candidate);
    if (cost < best_cost) {
      best = candidate;
      best_cost = cost;
    }
  }
  return best;
}

}  // namespace dinfer
