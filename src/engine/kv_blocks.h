#pragma once

#include <cstdint>
#include <numeric>
#include <optional>
#include <vector>

#include "base/error.h"

namespace dinfer {

// Which KV blocks are free: kept on the head alone, the same blocks on every rank. The block freed
// last is given out first, so that a small load touches little memory.
class KvBlocks {
 public:
  explicit KvBlocks(int32_t blocks) : total_(blocks), free_(static_cast<size_t>(blocks)) {
    std::iota(free_.rbegin(), free_.rend(), 0);
  }

  int32_t total() const { return total_; }
  int32_t available() const { return static_cast<int32_t>(free_.size()); }

  // `count` blocks, or none at all where fewer are free.
  std::optional<std::vector<int32_t>> take(int64_t count) {
    if (count > available()) return std::nullopt;
    std::vector<int32_t> taken(free_.rbegin(), free_.rbegin() + count);
    free_.resize(free_.size() - static_cast<size_t>(count));
    return taken;
  }

  void give_back(const std::vector<int32_t>& blocks) {
    free_.insert(free_.end(), blocks.rbegin(), blocks.rend());
    check(free_.size() <= static_cast<size_t>(total_), "a KV block was freed twice");
  }

 private:
  int32_t total_;
  std::vector<int32_t> free_;  // the next one to give out is last
};

}  // namespace dinfer
