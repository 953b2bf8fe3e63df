#include "cli/help.h"

#include <gtest/gtest.h>

#include <sstream>

#include "cli/completion.h"
#include "cli/exit_codes.h"
#include "base/nearest.h"

namespace dinfer {
namespace {

void expect_narrow(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100u) << line;
    EXPECT_TRUE(line.empty() || line.back() != ' ') << line;
  }
}

TEST(Help, FitsHundredColumnsAndNamesEveryOptionOfTheCommand) {
  expect_narrow(general_help());
  for (const Command& command : command_table()) {
    const std::string text = command_help(command);
    expect_narrow(text);
    for (const OptionSpec& option : option_table()) {
      const bool shown = text.find(" " + option.flag() +
                                   (option.is_switch() ? " " : " " + std::string(option.value))) !=
                         std::string::npos;
      EXPECT_EQ(shown, (command.bit & option.commands) != 0) << command.name << " " << option.name;
    }
  }
}

TEST(Help, ListsCommandsThatWorkAndExitCodes) {
  const std::string text = general_help();
  for (const Command& command : command_table()) {
    EXPECT_EQ(text.find(fmt::format("\n  {} ", command.name)) != std::string::npos,
              command.run != nullptr)
        << command.name;
  }
  for (const auto& [code, meaning] : exit_codes()) {
    EXPECT_NE(text.find(meaning), std::string::npos) << static_cast<int>(code);
  }
}

TEST(ManPage, HoldsEveryOptionAndStartsNoRequestByAccident) {
  const std::string page = man_page();
  size_t entries = 0;
  std::istringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    entries += line == ".TP";
    EXPECT_FALSE(line.starts_with('\'')) << line;
  }
  EXPECT_GT(entries, option_table().size());
  EXPECT_NE(page.find("DINFER_MAX_TOKENS"), std::string::npos);
}

TEST(Completion, EveryShellKnowsEveryOption) {
  for (const std::string& script : {bash_completion(), zsh_completion(), fish_completion()}) {
    for (const OptionSpec& option : option_table()) {
      bool taken = false;
      for (const Command& command : command_table()) {
        taken |= command.run != nullptr && (command.bit & option.commands) != 0;
      }
      if (taken) {
        EXPECT_NE(script.find(option.name), std::string::npos) << option.name;
      }
    }
  }
}

TEST(Nearest, FindsTyposAndAbbreviationsOnly) {
  const std::vector<std::string> names{"run", "score", "tokenize"};
  EXPECT_EQ(nearest("scroe", names), "score");
  EXPECT_EQ(nearest("tok", names), "tokenize");
  EXPECT_EQ(nearest("rnu", names), "run");
  EXPECT_EQ(nearest("completely", names), "");
  EXPECT_EQ(nearest("", names), "");
  EXPECT_EQ(nearest(std::string(100000, 'x'), names), "");
}

}  // namespace
}  // namespace dinfer
