#include "grammar/decimal_range.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "grammar/grammar_machine.h"

namespace dinfer {
namespace {

using Bound = std::optional<DecimalBound>;

class Numbers {
 public:
  Numbers(const Bound& low, const Bound& high) {
    JsonGrammar json(grammar_);
    grammar_.set_start(add_decimals(low, high, grammar_, json, grammar_.end()));
  }
  bool has(std::string_view text) const {
    GrammarMachine machine(grammar_);
    auto state = machine.start();
    for (const char c : text) state = machine.step(state, static_cast<uint8_t>(c));
    return machine.accepts(state);
  }

 private:
  Grammar grammar_;
};

bool within(double value, const Bound& low, const Bound& high) {
  if (low && (low->open ? value <= low->value : value < low->value)) return false;
  return !high || (high->open ? value < high->value : value <= high->value);
}

// All numbers of up to three digits, with up to three digits behind the point, against doubles.
TEST(DecimalRange, HasTheNumbersBetweenItsBorders) {
  const std::vector<std::pair<Bound, Bound>> ranges{{{{0}}, {{1}}},
                                                    {{{0, true}}, {{1, true}}},
                                                    {{{-1}}, {{1}}},
                                                    {{{0.5}}, {{2.25}}},
                                                    {{{0.5, true}}, {{0.75}}},
                                                    {{{-2.5}}, {{-0.1, true}}},
                                                    {{{10}}, {}},
                                                    {{}, {{-3.5}}},
                                                    {{}, {{12.5, true}}},
                                                    {{{-0.25, true}}, {}},
                                                    {{{99.9}}, {{100.1}}},
                                                    {{{3}}, {{3}}},
                                                    {{{0.1}}, {{0.1}}},
                                                    {{{-7.125}}, {{7.125, true}}},
                                                    {{{1e-7}}, {{0.01}}}};
  const std::vector<std::string> fractions{
      "",   ".0",  ".1",   ".10",  ".09",  ".25", ".250", ".5",   ".50",  ".51",  ".499", ".75",
      ".9", ".99", ".125", ".126", ".124", ".01", ".001", ".011", ".000", ".100", ".101"};
  for (const auto& [low, high] : ranges) {
    const Numbers numbers(low, high);
    for (const char* sign : {"", "-"}) {
      for (const int whole : {0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13, 98, 99, 100, 101, 999}) {
        for (const std::string& fraction : fractions) {
          const std::string text = sign + std::to_string(whole) + fraction;
          const double value = std::strtod(text.c_str(), nullptr);
          if (value == 0 && *sign) continue;  // minus zero may be left out
          EXPECT_EQ(numbers.has(text), within(value, low, high))
              << text << " in " << (low ? low->value : -1e9) << " to "
              << (high ? high->value : 1e9);
        }
      }
    }
  }
}

TEST(DecimalRange, WhatHasNoNumberIsRefused) {
  EXPECT_THROW(Numbers({{2}}, {{1}}), Error);
  EXPECT_THROW(Numbers({{1, true}}, {{1}}), Error);
  EXPECT_THROW(Numbers({{2e15}}, {}), Error);
  const Numbers wide({{-1e300}}, {{1e300}});
  EXPECT_TRUE(wide.has("123456.5"));
  EXPECT_FALSE(Numbers({{0}}, {{1}}).has("00.5"));
  EXPECT_FALSE(Numbers({{0}}, {{1}}).has("0."));
}

}  // namespace
}  // namespace dinfer
