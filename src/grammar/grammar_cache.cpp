#include "grammar/grammar_cache.h"

#include <algorithm>

namespace dinfer {

GrammarCache::GrammarCache(const Tokenizer& tokenizer, int64_t vocab, std::vector<int32_t> ends,
                           std::vector<int32_t> specials)
    : tokenizer_(tokenizer),
      vocab_(vocab),
      ends_(std::move(ends)),
      specials_(std::move(specials)) {}

std::shared_ptr<TokenGrammar> GrammarCache::find(const std::string& key,
                                                 const std::function<void(Grammar&)>& build) {
  const std::lock_guard lock(mutex_);
  const auto known =
      std::ranges::find_if(grammars_, [&](const auto& it) { return it.first == key; });
  if (known != grammars_.end()) {
    grammars_.splice(grammars_.begin(), grammars_, known);
    return grammars_.front().second;
  }
  if (!trie_) trie_ = std::make_shared<TokenTrie>(tokenizer_, vocab_, specials_);
  Grammar grammar;
  build(grammar);
  grammars_.emplace_front(key, std::make_shared<TokenGrammar>(std::move(grammar), trie_, ends_));
  if (grammars_.size() > kMost) grammars_.pop_back();
  return grammars_.front().second;
}

}  // namespace dinfer
