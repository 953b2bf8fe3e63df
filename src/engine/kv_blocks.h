#pragma once

#include <cstdint>
#include <list>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

namespace dinfer {

// Which KV blocks of a replica are free: kept on the head alone, the same blocks on every rank of
// it. Sequences that begin alike share blocks: a block that is full of computed tokens can be
// published under what it holds and all that stands before it, and a published block that no
// sequence has keeps its content until its room is needed, the one given back longest ago first.
// Blocks without content are given out before those, the one freed last first.
class KvBlocks {
 public:
  explicit KvBlocks(int32_t blocks);

  int32_t total() const { return static_cast<int32_t>(blocks_.size()); }
  // Blocks that no sequence has.
  int32_t available() const { return static_cast<int32_t>(free_.size() + idle_.size()); }

  // `count` blocks, or none at all where fewer are available.
  std::optional<std::vector<int32_t>> take(int64_t count);
  // A sequence has these no more.
  void give_back(const std::vector<int32_t>& blocks);

  // A published text: which one a block goes on from. Texts of different salts are never the same.
  struct Text {
    uint64_t id = 0;  // 0: the beginning
    std::string salt;
  };
  // How many published blocks `tokens` begin with.
  int64_t known(Text text, std::span<const int32_t> tokens, int64_t block_size) const;
  // The published blocks with which `tokens` begin, which the caller now has too; `text` becomes
  // that of the last one.
  std::vector<int32_t> share(Text& text, std::span<const int32_t> tokens, int64_t block_size);
  // The block holds `tokens` behind `text`, which becomes the text with them.
  void publish(int32_t block, Text& text, std::span<const int32_t> tokens);

 private:
  struct Key {
    uint64_t before;
    std::string salt;  // where nothing stands before
    std::vector<int32_t> tokens;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const;
  };
  struct Published {
    int32_t block;
    uint64_t id;
  };
  struct Block {
    int32_t users = 0;
    const Key* key = nullptr;  // of published_
    std::list<int32_t>::iterator idle;
  };

  const Published* find(const Text& text, std::span<const int32_t> tokens) const;
  static Key key_of(const Text& text, std::span<const int32_t> tokens);
  void forget(int32_t block);

  std::vector<Block> blocks_;
  std::vector<int32_t> free_;  // the next one to give out is last
  std::list<int32_t> idle_;    // published, without users; the next one to be given out is first
  std::unordered_map<Key, Published, KeyHash> published_;
  uint64_t last_id_ = 0;
};

}  // namespace dinfer
