#pragma once

#include <span>
#include <vector>

namespace dinfer {

// The ranks of a group: rank i of the group is rank members[i] of the job.
class Members {
 public:
  // `ranks` of the job, ascending; `self` is among them.
  Members(std::span<const int> ranks, int self);

  int rank() const { return rank_; }  // this process, in the group
  int size() const { return static_cast<int>(ranks_.size()); }
  int operator[](int rank) const { return ranks_[static_cast<size_t>(rank)]; }
  std::span<const int> ranks() const { return ranks_; }

  // All of the group but this process, as the job numbers them.
  std::vector<int> others() const;

 private:
  std::vector<int> ranks_;
  int rank_;
};

// 0, 1, ..., size - 1: the members of the group of all ranks.
std::vector<int> all_ranks(int size);

}  // namespace dinfer
