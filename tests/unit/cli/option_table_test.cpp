#include "cli/option_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/error.h"

namespace dinfer {
namespace {

const OptionSpec& option(std::string_view name) {
  const auto found = std::ranges::find(option_table(), name, &OptionSpec::name);
  if (found == option_table().end()) throw Bug("no option " + std::string(name));
  return *found;
}

bool accepts(std::string_view name, std::string_view value) {
  Options options;
  return option(name).rule.set(options, value);
}

TEST(OptionTable, NamesAndLettersOfACommandAreUniqueAndEveryOptionHasHelp) {
  std::set<std::string_view> names;
  std::vector<const OptionSpec*> lettered;
  for (const OptionSpec& spec : option_table()) {
    EXPECT_TRUE(names.insert(spec.name).second) << spec.name;
    if (spec.letter != '\0') {
      for (const OptionSpec* other : lettered) {
        EXPECT_FALSE(other->letter == spec.letter && (other->commands & spec.commands) != 0)
            << spec.name << " and " << other->name;
      }
      lettered.push_back(&spec);
    }
    EXPECT_FALSE(spec.help.empty()) << spec.name;
    EXPECT_NE(spec.commands, 0u) << spec.name;
  }
  for (const std::string_view future : future_options()) {
    EXPECT_FALSE(names.contains(future)) << future << " is available";
  }
}

TEST(OptionTable, GroupsStandTogether) {
  std::vector<std::string_view> groups;
  for (const OptionSpec& spec : option_table()) {
    if (groups.empty() || groups.back() != spec.group) groups.push_back(spec.group);
  }
  EXPECT_EQ(std::set(groups.begin(), groups.end()).size(), groups.size());
}

TEST(OptionTable, ChecksRanges) {
  struct Case {
    std::string_view name;
    std::vector<std::string_view> good, bad;
  };
  const std::vector<Case> cases{
      {"temperature", {"0", "0.7", "2", "1e-3"}, {"-0.1", "nan", "inf", "", "1x", " 1", "0x1"}},
      {"top-p", {"1", "0.9", "1e-9"}, {"0", "1.01", "-1", "nan"}},
      {"min-p", {"0", "1"}, {"1.5", "-0.5"}},
      {"top-k", {"0", "40"}, {"-1", "1.5", "99999999999"}},
      {"quant", {"4", "8"}, {"5", "0", "", "4 "}},
      {"quant-group", {"32", "64", "128"}, {"16", "256"}},
      {"kv-block-size", {"16", "32"}, {"8"}},
      {"kv-dtype", {"auto", "f8"}, {"f16", "F8", "fp8", ""}},
      {"kv-memory-fraction", {"0.5", "1"}, {"0", "1.1"}},
      {"seed", {"0", "18446744073709551615"}, {"-1", "18446744073709551616"}},
      {"max-tokens", {"1"}, {"0", "-5", "9223372036854775808"}},
      {"presence-penalty", {"-2", "2"}, {"-2.1"}},
      {"tokens", {"1,2,3", "0"}, {"1,", ",1", "1,,2", "1, 2", "-1", ""}},
      {"cpu-math", {"auto", "f32"}, {"F32", "f16", ""}},
      {"mode", {"auto", "tensor"}, {"ring"}},
      {"log-format", {"json"}, {"xml"}},
      {"step-timeout", {"0.5", "30"}, {"0", "1e9"}},
  };
  for (const Case& c : cases) {
    for (const auto value : c.good) EXPECT_TRUE(accepts(c.name, value)) << c.name << " " << value;
    for (const auto value : c.bad) EXPECT_FALSE(accepts(c.name, value)) << c.name << " " << value;
  }
}

TEST(OptionTable, StoresWhatWasGiven) {
  Options options;
  EXPECT_TRUE(option("tokens").rule.set(options, "7,8"));
  EXPECT_TRUE(option("tokens").rule.set(options, "1,2,3"));
  EXPECT_EQ(options.tokens, (std::vector<int32_t>{1, 2, 3}));
  EXPECT_TRUE(option("stop").rule.set(options, "a"));
  EXPECT_TRUE(option("stop").rule.set(options, "b"));
  EXPECT_FALSE(option("stop").rule.set(options, ""));
  EXPECT_EQ(options.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(option("quant").rule.set(options, "8"));
  EXPECT_EQ(options.quant, 8);
  EXPECT_TRUE(option("log-level").rule.set(options, "debug"));
  EXPECT_EQ(options.log.level, "debug");
  EXPECT_TRUE(option("temperature").rule.set(options, "0.25"));
  EXPECT_EQ(options.temperature, 0.25);
}

TEST(OptionTable, EnvironmentNamesFollowTheFlag) {
  EXPECT_EQ(option("max-batch-tokens").environment(), "DINFER_MAX_BATCH_TOKENS");
}

}  // namespace
}  // namespace dinfer
