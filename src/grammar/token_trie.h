#pragma once

#include <cstdint>
#include <vector>

#include "base/token_mask.h"
#include "grammar/grammar_machine.h"
#include "text/tokenizer.h"

namespace dinfer {

// A vocabulary as a tree of the tokens' bytes: what a grammar allows next is found by one walk over
// it, which leaves out whole branches. Special tokens but for the named ones, and tokens without
// text, are not in it.
class TokenTrie {
 public:
  // Ids in [0, vocab) of the tokenizer; `specials`: special tokens that may stand in a text.
  TokenTrie(const Tokenizer& tokenizer, int64_t vocab, const std::vector<int32_t>& specials = {});

  // The tokens whose bytes may follow in `state`.
  TokenMask allowed(GrammarMachine& machine, GrammarMachine::State state) const;

  // Bytes of a token inside a text; empty for those that are not in the tree.
  std::string_view text(int32_t token) const;

 private:
  struct Entry {
    uint32_t end;           // the first entry that is not below this one
    uint32_t tokens_begin;  // in tokens_; they reach to the next entry's
    uint16_t depth;         // bytes before this one
    uint8_t byte;
  };

  void add(std::string_view text, std::string_view previous, int32_t token,
           std::vector<uint32_t>& path);

  std::vector<Entry> entries_;  // depth first; the last one ends the list
  std::vector<int32_t> tokens_;
  std::vector<std::string> texts_;  // by token
  size_t deepest_ = 0;
};

}  // namespace dinfer
