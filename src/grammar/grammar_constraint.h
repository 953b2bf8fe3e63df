#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "grammar/constraint.h"
#include "grammar/grammar.h"
#include "grammar/grammar_machine.h"
#include "grammar/token_trie.h"

namespace dinfer {

// A grammar over the tokens of a model, with what has been found about it: states, and the tokens
// that each one allows. All sequences that follow the grammar share it. Thread-safe.
class TokenGrammar {
 public:
  // `ends`: the tokens that end a text, allowed where the grammar has an end.
  TokenGrammar(Grammar grammar, std::shared_ptr<const TokenTrie> trie, std::vector<int32_t> ends);

  // Where one sequence is.
  struct Place {
    std::shared_ptr<struct Findings> findings;
    GrammarMachine::State state = GrammarMachine::kDead;
    std::shared_ptr<const TokenMask> allowed;
    bool goes_on = true;  // more than an end can follow, and a token of the model is allowed
  };

  Place begin();
  // `text`: all that was said before `token`; the token is appended to it.
  void advance(Place& place, std::string& text, int32_t token);

  // What is known is dropped beyond so many states, places in them, or masks, and found anew as
  // needed.
  static constexpr size_t kMostStates = 8000, kMostPlaces = 1'000'000, kMostMasks = 256;

 private:
  void settle(Place& place, const std::string& text);
  std::shared_ptr<const TokenMask> mask_of(struct Findings& findings, GrammarMachine::State state);

  const Grammar grammar_;
  const std::shared_ptr<const TokenTrie> trie_;
  const std::vector<int32_t> ends_;
  std::mutex mutex_;
  std::shared_ptr<struct Findings> findings_;
};

// One sequence that follows a grammar.
class GrammarConstraint : public Constraint {
 public:
  explicit GrammarConstraint(std::shared_ptr<TokenGrammar> grammar)
      : grammar_(std::move(grammar)), place_(grammar_->begin()) {}

  const TokenMask& allowed() const override { return *place_.allowed; }
  bool take(int32_t token) override {
    grammar_->advance(place_, text_, token);
    return place_.goes_on;
  }

 private:
  std::shared_ptr<TokenGrammar> grammar_;
  TokenGrammar::Place place_;
  std::string text_;
};

}  // namespace dinfer
