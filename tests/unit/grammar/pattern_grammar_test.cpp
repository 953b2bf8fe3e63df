#include "grammar/pattern_grammar.h"

#include <gtest/gtest.h>

#include <regex>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "grammar/grammar_machine.h"

namespace dinfer {
namespace {

class PatternTexts {
 public:
  explicit PatternTexts(std::string_view pattern, const TextLength& length = {}) {
    grammar_.set_start(add_pattern(pattern, length, grammar_, grammar_.end()));
    machine_.emplace(grammar_);
  }
  bool has(const std::string& text) { return has_json(OrderedJson(text).dump()); }
  bool has_json(std::string_view json) {
    auto state = machine_->start();
    for (const char c : json) state = machine_->step(state, static_cast<uint8_t>(c));
    return machine_->accepts(state);
  }

 private:
  Grammar grammar_;
  std::optional<GrammarMachine> machine_;
};

bool has_format(std::string_view format, const std::string& text) {
  return PatternTexts(*pattern_of_format(format)).has(text);
}

std::string refusal(std::string_view pattern) {
  try {
    const PatternTexts compiled(pattern);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// Every text of up to five of these letters, against the standard library's ECMAScript.
TEST(PatternGrammar, AgreesWithEcmaScript) {
  const std::string letters = "ab1- ";
  std::vector<std::string> texts{""};
  for (size_t i = 0; i < texts.size() && texts[i].size() < 5; ++i)
    for (const char c : letters) texts.push_back(texts[i] + c);
  for (const char* pattern : {"a",
                              "^a",
                              "a$",
                              "^a$",
                              "^ab|b1$",
                              "^(a|b)*$",
                              "^(?:ab)+$",
                              "^a{2}$",
                              "^a{1,}b?$",
                              "^[ab]{2,3}$",
                              "^[^ab]*$",
                              "^\\d+$",
                              "\\w\\s\\w",
                              "^\\S*$",
                              "^.$",
                              "^a*?b$",
                              "^(a(b|1)){1,2}-?$",
                              "^[a-b1-]+$",
                              "^$",
                              "",
                              "^(|a)b$",
                              "(ab|1)-",
                              "^[\\w-]+$",
                              "^a|b|1$",
                              "^\\x61\\u0062$",
                              "^[\\d\\-]$"}) {
    PatternTexts automaton(pattern);
    const std::regex oracle(pattern, std::regex::ECMAScript);
    for (const std::string& text : texts)
      ASSERT_EQ(automaton.has(text), std::regex_search(text, oracle))
          << pattern << " '" << text << "'";
  }
}

TEST(PatternGrammar, CharactersAreThoseOfJson) {
  PatternTexts any("^.$");
  EXPECT_TRUE(any.has("é"));
  EXPECT_TRUE(any.has("日"));
  EXPECT_TRUE(any.has("😀"));
  EXPECT_TRUE(any.has("\""));
  EXPECT_TRUE(any.has("\\"));
  EXPECT_FALSE(any.has("\n"));
  EXPECT_FALSE(any.has("éé"));
  EXPECT_FALSE(any.has_json("\"\x80\""));
  EXPECT_FALSE(any.has_json("\"\xed\xa0\x80\"")) << "a surrogate";
  PatternTexts some("^[à-ü€\\n\"]+$");
  EXPECT_TRUE(some.has("é€\n\"à"));
  EXPECT_FALSE(some.has("e"));
}

TEST(PatternGrammar, LengthsHoldToo) {
  PatternTexts bounded("^(ab|é)+$", {.fewest = 3, .most = 4});
  EXPECT_FALSE(bounded.has("ab"));
  EXPECT_TRUE(bounded.has("abé"));
  EXPECT_TRUE(bounded.has("éééé"));
  EXPECT_TRUE(bounded.has("abab"));
  EXPECT_FALSE(bounded.has("ababé"));
  PatternTexts longer("a", {.fewest = 2});
  EXPECT_FALSE(longer.has("a"));
  EXPECT_TRUE(longer.has("xa"));
  EXPECT_TRUE(longer.has(std::string(50, 'a')));
}

TEST(PatternGrammar, WhatIsNotAvailableIsNamed) {
  for (const auto& [pattern, why] :
       std::vector<std::pair<const char*, const char*>>{{"(?=a)", "looking around"},
                                                        {"(?<!a)b", "looking around"},
                                                        {"(a)\\1", "\\1"},
                                                        {"\\bword", "\\b"},
                                                        {"\\p{L}", "\\p"},
                                                        {"a(^b)", "inner ^"},
                                                        {"a$b", "inner $"},
                                                        {"(a", "no end"},
                                                        {"a)", "closes nothing"},
                                                        {"[a", "no end"},
                                                        {"[b-a]", "range"},
                                                        {"*", "repeats nothing"},
                                                        {"a**", "second count"},
                                                        {"a{3,2}", "empty"},
                                                        {"\\u12", "hexadecimal"},
                                                        {"(?i)a", "group option"},
                                                        {"((a{1000}){1000}){1000}", "too large"}}) {
    EXPECT_NE(refusal(pattern).find(why), std::string::npos) << pattern << ": " << refusal(pattern);
  }
  EXPECT_NE(refusal(std::string(5000, 'a')), "");
  EXPECT_NE(refusal(std::string(500, '(')), "");
}

TEST(PatternGrammar, RepeatedNothingTakesNoTime) {
  EXPECT_TRUE(PatternTexts("^(((((){10000}){10000}){10000}){10000}a)$").has("a"));
}

TEST(PatternGrammar, FormatsHaveValidTextsOnly) {
  const std::vector<std::tuple<const char*, const char*, bool>> cases{
      {"date", "2024-02-29", true},
      {"date", "2023-02-29", false},
      {"date", "1900-02-29", false},
      {"date", "2000-02-29", true},
      {"date", "2023-04-31", false},
      {"date", "2023-12-31", true},
      {"date", "0000-01-01", false},
      {"date", "2023-1-01", false},
      {"time", "23:59:59Z", true},
      {"time", "24:00:00Z", false},
      {"time", "12:30:00.5+05:30", true},
      {"time", "12:30:00", false},
      {"time", "12:30:00+5", false},
      {"date-time", "2023-06-01T12:00:00Z", true},
      {"date-time", "2023-06-01", false},
      {"duration", "P1Y2M3DT4H5M6S", true},
      {"duration", "PT10S", true},
      {"duration", "P", false},
      {"duration", "P1Y1D", false},
      {"duration", "P2W", true},
      {"uuid", "123e4567-e89b-12d3-a456-426614174000", true},
      {"uuid", "123e4567e89b12d3a456426614174000", false},
      {"email", "first.last+tag@example.com", true},
      {"email", "a@b", false},
      {"email", ".a@example.com", false},
      {"hostname", "a-b.example.org", true},
      {"hostname", "-a.example.org", false},
      {"ipv4", "255.0.10.1", true},
      {"ipv4", "256.0.0.1", false},
      {"ipv4", "1.2.3", false},
      {"ipv6", "::1", true},
      {"ipv6", "2001:db8::ff00:42:8329", true},
      {"ipv6", "1:2:3:4:5:6:7:8", true},
      {"ipv6", "1::2::3", false},
      {"ipv6", "1:2:3:4:5:6:7:8:9", false},
      {"ipv6", "1:2:3:4:5:6:7::", true},
      {"uri", "https://example.com/a/b?c=d#e", true},
      {"uri", "example.com", false},
      {"uri", "http://a b.com", false}};
  for (const auto& [format, text, valid] : cases)
    EXPECT_EQ(has_format(format, text), valid) << format << " " << text;
  EXPECT_FALSE(pattern_of_format("regex"));
}

}  // namespace
}  // namespace dinfer
