#pragma once

#include <bit>
#include <cstdint>
#include <vector>

namespace dinfer {

// Rank and result of merging two tokens: a hash table with open addressing, which a merge loop
// asks for every pair of neighbours.
class MergeTable {
 public:
  struct Entry {
    uint64_t key = kEmpty;
    uint32_t rank = 0;
    int32_t merged = 0;
  };

  explicit MergeTable(size_t merges)
      : slots_(std::bit_ceil(merges * 2 + 2)), shift_(64 - std::countr_zero(slots_.size())) {}

  // The last rank given for a pair counts. At most as many pairs as the constructor was told.
  void insert(int32_t left, int32_t right, uint32_t rank, int32_t merged) {
    const uint64_t key = key_of(left, right);
    Entry& slot = slots_[slot_of(key)];
    slot = {key, rank, merged};
  }

  const Entry* find(int32_t left, int32_t right) const {
    const uint64_t key = key_of(left, right);
    const Entry& slot = slots_[slot_of(key)];
    return slot.key == key ? &slot : nullptr;
  }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};  // ids are not negative

  static uint64_t key_of(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }

  // Where `key` is, or the free slot where it would be.
  size_t slot_of(uint64_t key) const {
    size_t slot = key * 0x9e3779b97f4a7c15u >> shift_;
    while (slots_[slot].key != key && slots_[slot].key != kEmpty) {
      slot = (slot + 1) & (slots_.size() - 1);
    }
    return slot;
  }

  std::vector<Entry> slots_;
  int shift_;
};

}  // namespace dinfer
