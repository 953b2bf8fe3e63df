#include "comm/members.h"

#include <algorithm>
#include <numeric>

#include "base/error.h"

namespace dinfer {

Members::Members(std::span<const int> ranks, int self)
    : ranks_(ranks.begin(), ranks.end()),
      rank_(static_cast<int>(std::ranges::find(ranks_, self) - ranks_.begin())) {
  check(std::ranges::is_sorted(ranks_, std::ranges::less_equal()) && rank_ < size(),
        "a group lists its ranks in ascending order, this one among them");
}

std::vector<int> Members::others() const {
  std::vector<int> others = ranks_;
  others.erase(others.begin() + rank_);
  return others;
}

std::vector<int> all_ranks(int size) {
  std::vector<int> ranks(static_cast<size_t>(size));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

}  // namespace dinfer
