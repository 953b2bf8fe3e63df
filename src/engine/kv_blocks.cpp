#include "engine/kv_blocks.h"

#include <functional>
#include <numeric>

#include "base/error.h"

namespace dinfer {

size_t KvBlocks::KeyHash::operator()(const Key& key) const {
  uint64_t hash = std::hash<std::string>()(key.salt) ^ key.before * 0x9e3779b97f4a7c15u;
  for (const int32_t token : key.tokens)
    hash = (hash ^ static_cast<uint32_t>(token)) * 0x100000001b3u;
  return hash ^ hash >> 32;
}

KvBlocks::KvBlocks(int32_t blocks)
    : blocks_(static_cast<size_t>(blocks)), free_(static_cast<size_t>(blocks)) {
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::optional<std::vector<int32_t>> KvBlocks::take(int64_t count) {
  if (count > available()) return std::nullopt;
  std::vector<int32_t> taken;
  while (static_cast<int64_t>(taken.size()) < count) {
    if (free_.empty()) forget(idle_.front());
    taken.push_back(free_.back());
    free_.pop_back();
    blocks_[static_cast<size_t>(taken.back())].users = 1;
  }
  return taken;
}

// From the last one on: of a text, the end is given out before what it needs to be found.
void KvBlocks::give_back(const std::vector<int32_t>& blocks) {
  for (auto it = blocks.rbegin(); it != blocks.rend(); ++it) {
    Block& block = blocks_[static_cast<size_t>(*it)];
    check(block.users > 0, "a KV block was freed twice");
    if (--block.users > 0) continue;
    if (block.key)
      block.idle = idle_.insert(idle_.end(), *it);
    else
      free_.push_back(*it);
  }
}

int64_t KvBlocks::known(Text text, std::span<const int32_t> tokens, int64_t block_size) const {
  const auto size = static_cast<size_t>(block_size);
  int64_t blocks = 0;
  for (; tokens.size() >= size; tokens = tokens.subspan(size), ++blocks) {
    const Published* found = find(text, tokens.first(size));
    if (!found) break;
    text.id = found->id;
  }
  return blocks;
}

std::vector<int32_t> KvBlocks::share(Text& text, std::span<const int32_t> tokens,
                                     int64_t block_size) {
  std::vector<int32_t> shared;
  const auto size = static_cast<size_t>(block_size);
  for (; tokens.size() >= size; tokens = tokens.subspan(size)) {
    const Published* found = find(text, tokens.first(size));
    if (!found) break;
    Block& block = blocks_[static_cast<size_t>(found->block)];
    if (block.users++ == 0) idle_.erase(block.idle);
    shared.push_back(found->block);
    text.id = found->id;
  }
  return shared;
}

void KvBlocks::publish(int32_t block, Text& text, std::span<const int32_t> tokens) {
  const auto [at, added] =
      published_.try_emplace(key_of(text, tokens), Published{block, last_id_ + 1});
  if (added) {
    ++last_id_;
    blocks_[static_cast<size_t>(block)].key = &at->first;
  }
  text.id = at->second.id;
}

const KvBlocks::Published* KvBlocks::find(const Text& text, std::span<const int32_t> tokens) const {
  const auto found = published_.find(key_of(text, tokens));
  return found == published_.end() ? nullptr : &found->second;
}

KvBlocks::Key KvBlocks::key_of(const Text& text, std::span<const int32_t> tokens) {
  return {text.id, text.id == 0 ? text.salt : std::string(), {tokens.begin(), tokens.end()}};
}

// What an idle block holds is no longer known.
void KvBlocks::forget(int32_t block) {
  Block& idle = blocks_[static_cast<size_t>(block)];
  idle_.erase(idle.idle);
  published_.erase(published_.find(*idle.key));
  idle.key = nullptr;
  free_.push_back(block);
}

}  // namespace dinfer
