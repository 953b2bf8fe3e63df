#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/value_rule.h"

namespace dinfer {

// Commands that take an option, as bits.
using CommandSet = unsigned;
inline constexpr CommandSet kRun = 1, kScore = 2, kTokenize = 4, kBench = 8, kVersion = 16,
                            kServe = 32, kPlan = 64, kEngine = kRun | kScore | kBench | kServe;

// All that is known of one option: parsing, environment, help, man page and completion read it
// here.
struct OptionSpec {
  std::string_view group;  // heading in the help; options of a group stand together
  std::string_view name;   // without "--"
  char letter;             // '\0': none
  std::string_view value;  // name of the value; empty: a switch
  CommandSet commands;
  std::string_view fallback;  // the default, as the help states it; may be empty
  std::string_view help;
  ValueRule rule;

  bool is_switch() const { return value.empty(); }
  bool is_path() const { return value == "FILE" || value == "DIR" || value == "MODEL"; }
  std::string flag() const { return "--" + std::string(name); }
  std::string environment() const;  // DINFER_MAX_TOKENS
};

std::span<const OptionSpec> option_table();

// Options of the full design that this version lacks (names without "--"; single letters too), and
// the commands that do.
std::span<const std::string_view> future_options();

// DINFER_* variables that the scripts of launch/ and tests/ read: not options.
std::span<const std::string_view> script_variables();

}  // namespace dinfer
