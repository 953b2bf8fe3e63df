#include "base/recycled_memory.h"

#include <algorithm>

#include "base/error.h"

namespace dinfer {

std::byte* RecycledMemory::take(size_t bytes) {
  const std::lock_guard lock(mutex_);
  Block* best = nullptr;
  for (Block& block : blocks_) {
    const bool fits = bytes <= block.bytes && block.bytes / 2 <= bytes;
    if (!block.taken && fits && (!best || block.bytes < best->bytes)) best = &block;
  }
  if (!best) {
    best = &blocks_.emplace_back(std::make_unique_for_overwrite<std::byte[]>(bytes), bytes);
  }
  best->taken = true;
  return best->data.get();
}

void RecycledMemory::give_back(const std::byte* data) {
  const std::lock_guard lock(mutex_);
  const auto block = std::ranges::find(
      blocks_, data,
      [](const Block& candidate) -> const std::byte* { return candidate.data.get(); });
  check(block != blocks_.end() && block->taken, "memory of this pool, given back once");
  block->taken = false;
}

}  // namespace dinfer
