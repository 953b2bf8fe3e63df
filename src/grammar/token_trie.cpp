#include "grammar/token_trie.h"

#include <algorithm>
#include <numeric>
#include <string>

namespace dinfer {

namespace {

constexpr size_t kLongestToken = 4096;  // bytes; longer ones are left out

// Each token's bytes as they stand behind other text: a tokenizer may strip what begins a text.
std::vector<std::string> token_texts(const Tokenizer& tokenizer, int64_t vocab,
                                     const std::vector<int32_t>& specials) {
  std::vector<int32_t> ids = tokenizer.encode("a", {.add_special = false});
  if (ids.size() > 1) ids = {ids.back()};
  const size_t before = tokenizer.decode(ids, false).size();
  ids.push_back(0);
  std::vector<std::string> texts(static_cast<size_t>(vocab));
  for (int32_t token = 0; token < vocab; ++token) {
    const bool special = tokenizer.decode({&token, 1}, true).empty() &&
                         !tokenizer.decode({&token, 1}, false).empty();
    if (special && std::ranges::find(specials, token) == specials.end()) continue;
    ids.back() = token;
    std::string text = tokenizer.decode(ids, false);
    if (text.size() > before && text.size() - before <= kLongestToken)
      texts[static_cast<size_t>(token)] = text.substr(before);
  }
  return texts;
}

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, int64_t vocab,
                     const std::vector<int32_t>& specials)
    : texts_(token_texts(tokenizer, vocab, specials)) {
  std::vector<int32_t> order(texts_.size());
  std::iota(order.begin(), order.end(), 0);
  std::erase_if(order, [&](int32_t id) { return text(id).empty(); });
  std::ranges::stable_sort(order, {}, [&](int32_t id) { return text(id); });
  std::string_view previous;
  std::vector<uint32_t> path;  // entries of `previous`
  for (const int32_t token : order) {
    add(text(token), previous, token, path);
    previous = text(token);
    deepest_ = std::max(deepest_, previous.size());
  }
  for (const uint32_t open : path) entries_[open].end = static_cast<uint32_t>(entries_.size());
  entries_.push_back({.tokens_begin = static_cast<uint32_t>(tokens_.size())});
}

void TokenTrie::add(std::string_view text, std::string_view previous, int32_t token,
                    std::vector<uint32_t>& path) {
  const auto parted = std::ranges::mismatch(text, previous);
  const auto common = static_cast<size_t>(parted.in1 - text.begin());
  for (; path.size() > common; path.pop_back())
    entries_[path.back()].end = static_cast<uint32_t>(entries_.size());
  for (size_t depth = common; depth < text.size(); ++depth) {
    path.push_back(static_cast<uint32_t>(entries_.size()));
    entries_.push_back({.tokens_begin = static_cast<uint32_t>(tokens_.size()),
                        .depth = static_cast<uint16_t>(depth),
                        .byte = static_cast<uint8_t>(text[depth])});
  }
  tokens_.push_back(token);
}

TokenMask TokenTrie::allowed(GrammarMachine& machine, GrammarMachine::State state) const {
  TokenMask mask((texts_.size() + 63) / 64);
  std::vector<GrammarMachine::State> states(deepest_ + 1);
  states[0] = state;
  const size_t last = entries_.size() - 1;
  for (size_t i = 0; i < last;) {
    const Entry& entry = entries_[i];
    const auto next = machine.step(states[entry.depth], entry.byte);
    if (next == GrammarMachine::kDead) {
      i = entry.end;
      continue;
    }
    states[entry.depth + 1u] = next;
    for (uint32_t at = entry.tokens_begin; at < entries_[i + 1].tokens_begin; ++at) {
      const auto token = static_cast<size_t>(tokens_[at]);
      mask[token / 64] |= uint64_t{1} << (token % 64);
    }
    ++i;
  }
  return mask;
}

std::string_view TokenTrie::text(int32_t token) const {
  return static_cast<size_t>(token) < texts_.size()
             ? std::string_view(texts_[static_cast<size_t>(token)])
             : std::string_view();
}

}  // namespace dinfer
