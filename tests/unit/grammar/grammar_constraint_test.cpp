#include "grammar/grammar_constraint.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "grammar/schema_grammar.h"

namespace dinfer {
namespace {

// Token 0 is special and ends a text; the others have their texts.
class Words : public Tokenizer {
 public:
  explicit Words(std::vector<std::string> texts) : texts_(std::move(texts)) {
    texts_.insert(texts_.begin(), "<end>");
  }
  std::vector<int32_t> encode(std::string_view, const EncodeOptions&) const override { return {1}; }
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids)
      if (id > 0 || !skip_special) text += texts_[static_cast<size_t>(id)];
    return text;
  }
  int32_t vocab_size() const override { return static_cast<int32_t>(texts_.size()); }
  int32_t bos() const override { return -1; }
  const std::vector<int32_t>& eos() const override { return eos_; }
  const std::vector<std::pair<std::string, std::string>>& special_texts() const override {
    return none_;
  }

 private:
  std::vector<std::string> texts_;
  std::vector<int32_t> eos_{0};
  std::vector<std::pair<std::string, std::string>> none_;
};

// All bytes, and what tokens of real vocabularies look like.
Words a_vocabulary() {
  std::vector<std::string> texts{"a"};
  for (int byte = 0; byte < 256; ++byte) texts.push_back(std::string(1, static_cast<char>(byte)));
  for (const char* text : {"{\"", "\": ", "\",", "\", \"", "true", "fal", "12", "00", "}}", "]}",
                           " \"", "name", "\xc3\xa9", "\xe2\x82", "<end>", "\n    ", "{}", "[]"})
    texts.push_back(text);
  return Words(std::move(texts));
}

std::shared_ptr<TokenGrammar> grammar_of(std::string_view schema, const Tokenizer& tokenizer) {
  Grammar grammar;
  JsonGrammar json(grammar);
  grammar.set_start(add_schema(OrderedJson::parse(schema), grammar, json, grammar.end()));
  return std::make_shared<TokenGrammar>(
      std::move(grammar), std::make_shared<TokenTrie>(tokenizer, tokenizer.vocab_size()),
      tokenizer.eos());
}

constexpr std::string_view kSchema = R"({"type": "object", "properties": {
    "name": {"type": "string", "maxLength": 9}, "ok": {"type": "boolean"},
    "n": {"type": "array", "items": {"type": "integer", "minimum": -20, "maximum": 1200}, "maxItems": 3}},
    "required": ["name", "n"]})";

TEST(GrammarConstraint, WhateverIsChosenAmongTheAllowedBecomesValid) {
  const Words words = a_vocabulary();
  const auto grammar = grammar_of(kSchema, words);
  std::mt19937 random(1);
  for (int round = 0; round < 200; ++round) {
    GrammarConstraint constraint(grammar);
    std::vector<int32_t> said;
    for (bool more = true; more;) {
      std::vector<int32_t> choices;
      for (int32_t token = 0; token < words.vocab_size(); ++token)
        if (contains(constraint.allowed(), token)) choices.push_back(token);
      ASSERT_FALSE(choices.empty());
      said.push_back(choices[random() % choices.size()]);
      ASSERT_NE(said.back(), 0) << "an object does not end early";
      more = constraint.take(said.back());
      ASSERT_LT(said.size(), 400u);
    }
    const auto value = OrderedJson::parse(words.decode(said, true));
    EXPECT_TRUE(value.at("name").is_string());
    EXPECT_LE(value.at("n").size(), 3u);
    for (const auto& n : value.at("n")) EXPECT_TRUE(n >= -20 && n <= 1200) << n;
  }
}

TEST(GrammarConstraint, WhatMayGoOnOrEndAllowsTheEnd) {
  const Words words = a_vocabulary();
  GrammarConstraint constraint(grammar_of(R"({"type": "integer"})", words));
  EXPECT_FALSE(contains(constraint.allowed(), 0));
  EXPECT_TRUE(constraint.take(2 + '7'));
  EXPECT_TRUE(contains(constraint.allowed(), 0));
  EXPECT_TRUE(contains(constraint.allowed(), 2 + '0'));
  EXPECT_FALSE(constraint.take(0));
}

TEST(GrammarConstraint, MasksAreThoseOfTryingEachToken) {
  const Words words = a_vocabulary();
  const TokenTrie trie(words, words.vocab_size());
  Grammar grammar;
  JsonGrammar json(grammar);
  grammar.set_start(add_schema(OrderedJson::parse(kSchema), grammar, json, grammar.end()));
  GrammarMachine machine(grammar);
  for (const char* text :
       {"", "{", "{\"na", "{\"name\": \"x", "{\"name\": \"\xe2", "{\"name\": \"\", \"n\": [1"}) {
    auto state = machine.start();
    for (const char c : std::string_view(text))
      state = machine.step(state, static_cast<uint8_t>(c));
    const TokenMask mask = trie.allowed(machine, state);
    for (int32_t token = 0; token < words.vocab_size(); ++token) {
      auto next = state;
      for (const char c : words.decode({&token, 1}, true))
        next = machine.step(next, static_cast<uint8_t>(c));
      EXPECT_EQ(contains(mask, token), token > 0 && next != GrammarMachine::kDead)
          << text << " " << token;
    }
  }
}

TEST(GrammarConstraint, ManyPlacesAreForgottenAndFoundAnew) {
  const Words words = a_vocabulary();
  const auto grammar = grammar_of("true", words);
  GrammarConstraint first(grammar);
  const auto say = [](GrammarConstraint& constraint, std::string_view text) {
    bool more = true;
    for (const char c : text) {
      const int32_t token = 2 + static_cast<uint8_t>(c);
      ASSERT_TRUE(more && contains(constraint.allowed(), token)) << text;
      more = constraint.take(token);
    }
  };
  say(first, "[1, ");
  for (int round = 0; round < 12; ++round) {  // each way of nesting has states of its own
    GrammarConstraint other(grammar);
    std::string text;
    for (int i = 0; i < 40; ++i) text += (round >> (i % 4) & 1) != 0 ? "[" : "{\"a\":";
    say(other, text);
  }
  say(first, "{\"b\": [");
  EXPECT_FALSE(contains(first.allowed(), 2 + '}'));
  say(first, "]}]");
}

TEST(GrammarConstraint, AModelThatLacksTheTokensIsToldSo) {
  const Words words({"a", "b"});
  EXPECT_THROW(grammar_of(R"({"type": "integer"})", words), Error);
}

}  // namespace
}  // namespace dinfer
