#include "grammar/grammar_constraint.h"

#include <algorithm>

#include "base/error.h"

namespace dinfer {

struct Findings {
  explicit Findings(const Grammar& grammar) : machine(grammar) {}
  GrammarMachine machine;
  std::unordered_map<GrammarMachine::State, std::shared_ptr<const TokenMask>> masks;
};

TokenGrammar::TokenGrammar(Grammar grammar, std::shared_ptr<const TokenTrie> trie,
                           std::vector<int32_t> ends)
    : grammar_(std::move(grammar)),
      trie_(std::move(trie)),
      ends_(std::move(ends)),
      findings_(std::make_shared<Findings>(grammar_)) {
  if (!begin().goes_on) {
    fail(ExitCode::usage,
         "no text of this model's tokens is valid by it, or it begins in more than {} ways at once",
         GrammarMachine::kMostPlaces);
  }
}

TokenGrammar::Place TokenGrammar::begin() {
  const std::lock_guard lock(mutex_);
  Place place;
  settle(place, "");
  return place;
}

void TokenGrammar::advance(Place& place, std::string& text, int32_t token) {
  const std::lock_guard lock(mutex_);
  const std::string_view bytes = trie_->text(token);
  if (bytes.empty()) {  // an end
    place.goes_on = false;
    return;
  }
  text += bytes;
  if (place.findings != findings_) return settle(place, text);
  for (const char byte : bytes)
    place.state = place.findings->machine.step(place.state, static_cast<uint8_t>(byte));
  settle(place, text);
}

// Finds what may follow. A place of former findings is looked up anew, from its text.
void TokenGrammar::settle(Place& place, const std::string& text) {
  if (findings_->machine.states() > kMostStates || findings_->machine.places() > kMostPlaces ||
      findings_->masks.size() > kMostMasks)
    findings_ = std::make_shared<Findings>(grammar_);
  GrammarMachine& machine = findings_->machine;
  if (place.findings != findings_) {
    place.findings = findings_;
    place.state = machine.start();
    for (const char byte : text)
      place.state = machine.step(place.state, static_cast<uint8_t>(byte));
  }
  place.goes_on = machine.goes_on(place.state);
  if (!place.goes_on) return;
  place.allowed = mask_of(*findings_, place.state);
  place.goes_on = std::ranges::any_of(*place.allowed, [](uint64_t word) { return word != 0; });
}

std::shared_ptr<const TokenMask> TokenGrammar::mask_of(Findings& findings,
                                                       GrammarMachine::State state) {
  auto& known = findings.masks[state];
  if (known) return known;
  TokenMask mask = trie_->allowed(findings.machine, state);
  if (findings.machine.accepts(state)) {
    for (const int32_t end : ends_) {
      const auto word = static_cast<size_t>(end / 64);
      if (word < mask.size()) mask[word] |= uint64_t{1} << (end % 64);
    }
  }
  known = std::make_shared<const TokenMask>(std::move(mask));
  return known;
}

}  // namespace dinfer
