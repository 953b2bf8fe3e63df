#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "grammar/grammar_constraint.h"
#include "text/tokenizer.h"

namespace dinfer {

// The grammars that were asked for last, ready for a model's tokens. Thread-safe. The tokenizer
// outlives it.
class GrammarCache {
 public:
  // `ends`: tokens that end a text. `specials`: other special tokens that may stand in it.
  GrammarCache(const Tokenizer& tokenizer, int64_t vocab, std::vector<int32_t> ends,
               std::vector<int32_t> specials = {});

  // The grammar of this key, made by `build` where it is not there. `build` sets the start; its
  // Error(usage) goes on.
  std::shared_ptr<TokenGrammar> find(const std::string& key,
                                     const std::function<void(Grammar&)>& build);

  static constexpr size_t kMost = 8;

 private:
  const Tokenizer& tokenizer_;
  int64_t vocab_;
  std::vector<int32_t> ends_, specials_;
  std::mutex mutex_;
  std::shared_ptr<const TokenTrie> trie_;  // made with the first grammar
  std::list<std::pair<std::string, std::shared_ptr<TokenGrammar>>> grammars_;  // last used first
};

}  // namespace dinfer
