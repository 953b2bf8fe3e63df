#include "cli/parse.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer {
namespace {

Invocation parse(const std::vector<std::string>& arguments,
                 const std::vector<std::string_view>& environment = {}) {
  return parse_arguments(arguments, environment);
}

// The message of the usage error that `arguments` must end in.
std::string refusal(const std::vector<std::string>& arguments,
                    const std::vector<std::string_view>& environment = {}) {
  try {
    parse(arguments, environment);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ExitCode::usage);
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "more than one line";
    return e.what();
  }
  ADD_FAILURE() << "was accepted";
  return "";
}

// A value that the rule of `option` accepts.
std::string sample(const OptionSpec& option) {
  if (!option.rule.choices.empty()) return option.rule.choices.back();
  Options options;
  for (const char* text : {"1", "0=1GiB", "words"}) {
    if (option.rule.set(options, text)) return text;
  }
  return "";
}

bool takes(const Command& command, const OptionSpec& option) {
  return command.run != nullptr && (command.bit & option.commands) != 0;
}

TEST(Parse, TakesEveryOptionOfTheTableInEachCommandThatHasIt) {
  int parsed = 0;
  for (const Command& command : command_table()) {
    for (const OptionSpec& option : option_table()) {
      if (!takes(command, option)) continue;
      std::vector<std::string> words{std::string(command.name), option.flag()};
      if (!option.is_switch()) words.push_back(sample(option));
      if (command.needs_model && option.name != "model") words.insert(words.end(), {"-m", "x"});
      EXPECT_EQ(parse(words).command, &command) << option.name;
      ++parsed;
    }
  }
  EXPECT_GE(parsed, 15);
}

TEST(Parse, TakesEveryOptionFromTheEnvironment) {
  for (const Command& command : command_table()) {
    for (const OptionSpec& option : option_table()) {
      if (!takes(command, option)) continue;
      const std::string entry = option.environment() + "=" + sample(option);
      std::vector<std::string> words{std::string(command.name)};
      if (command.needs_model) words.insert(words.end(), {"-m", "x"});
      const Invocation got = parse(words, {{entry}});
      EXPECT_TRUE(got.warnings.empty()) << entry;
      if (option.is_switch()) {
        const std::string wrong = option.environment() + "=maybe";
        EXPECT_NE(refusal(words, {wrong}).find(wrong), std::string::npos);
      }
    }
  }
}

TEST(Parse, CommandLineWinsOverEnvironment) {
  const std::vector<std::string_view> environment{"DINFER_MODEL=there", "DINFER_PROMPT=hello"};
  const Invocation both = parse({"tokenize", "-m", "here"}, environment);
  EXPECT_EQ(both.options.model, "here");
  EXPECT_EQ(both.options.prompt, "hello");
}

TEST(Parse, WarnsOfUnknownVariablesWithTheNearestName) {
  const Invocation got =
      parse({"tokenize", "-m", "x"}, {"DINFER_MODLE=y", "DINFER_DEMO_MODEL=z", "PATH=/bin"});
  ASSERT_EQ(got.warnings.size(), 1u);
  EXPECT_NE(got.warnings[0].find("DINFER_MODLE"), std::string::npos);
  EXPECT_NE(got.warnings[0].find("DINFER_MODEL?"), std::string::npos);
}

TEST(Parse, NamesTheNearestOptionCommandAndValue) {
  EXPECT_EQ(refusal({"tokenize", "--modle", "x"}), "unknown option --modle; did you mean --model?");
  EXPECT_EQ(refusal({"tokenise", "-m", "x"}), "unknown command tokenise; did you mean tokenize?");
  EXPECT_EQ(refusal({"tokenize", "--tok", "x"}), "unknown option --tok; did you mean --tokenizer?");
  const std::string level = refusal({"tokenize", "-m", "x", "--log-level", "wraning"});
  EXPECT_NE(level.find("--log-level wraning: must be trace, debug"), std::string::npos) << level;
  EXPECT_NE(level.find("did you mean warning?"), std::string::npos) << level;
}

TEST(Parse, TellsOptionsOfOtherCommandsAndVersionsFromUnknownOnes) {
  EXPECT_EQ(refusal({"tokenize", "--seed", "1"}),
            "--seed is an option of run and serve, not of tokenize");
  EXPECT_EQ(refusal({"tokenize", "--dtype", "f"}), "--dtype is not available in this version");
  EXPECT_EQ(refusal({"verify"}), "the command verify is not available in this version");
}

TEST(Parse, RefusesMissingAndSuperfluousWords) {
  EXPECT_NE(refusal({}).find("no command"), std::string::npos);
  EXPECT_NE(refusal({"tokenize"}).find("-m MODEL"), std::string::npos);
  EXPECT_NE(refusal({"tokenize", "-m"}).find("needs a value"), std::string::npos);
  EXPECT_NE(refusal({"tokenize", "-m", "x", "--jsonl=1"}).find("takes no value"),
            std::string::npos);
  EXPECT_NE(refusal({"tokenize", "-m", "x", "stray"}).find("stray"), std::string::npos);
}

TEST(Parse, TakesNegativeNumbersAndDashesAsValues) {
  EXPECT_EQ(parse({"tokenize", "-m", "x", "-p", "-1"}).options.prompt, "-1");
  EXPECT_EQ(parse({"tokenize", "-m", "x", "--prompt=--jsonl"}).options.prompt, "--jsonl");
}

TEST(Parse, LeadsHelpFlagsToTheHelpOfTheCommand) {
  EXPECT_EQ(parse({"--help"}).command->name, "help");
  const Invocation help = parse({"tokenize", "--help"});
  EXPECT_EQ(help.command->name, "help");
  EXPECT_EQ(help.options.arguments, std::vector<std::string>{"tokenize"});
}

}  // namespace
}  // namespace dinfer
