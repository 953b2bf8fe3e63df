#include "cli/help.h"

#include <algorithm>

#include "base/build_info.h"
#include "base/error.h"
#include "cli/exit_codes.h"
#include "cli/output.h"

namespace dinfer {

namespace {

constexpr size_t kColumns = 100;
constexpr size_t kOptionColumn = 32;  // where descriptions of options start

// `text` broken at blanks, so that lines that start at column `indent` stay within kColumns.
std::string wrap(std::string_view text, size_t indent) {
  std::string wrapped;
  size_t column = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (column > indent && column + 1 + word.size() > kColumns) {
      wrapped += "\n" + std::string(indent, ' ');
      column = indent;
    }
    if (column > indent) {
      wrapped += ' ';
      ++column;
    }
    wrapped += word;
    column += word.size();
  }
  return wrapped;
}

// Left column and description; a left side that is too wide gets its own line.
std::string row(std::string left, std::string_view description, size_t indent) {
  if (left.size() + 2 > indent) {
    left += "\n" + std::string(indent, ' ');
  } else {
    left.resize(indent, ' ');
  }
  return left + wrap(description, indent) + "\n";
}

std::string option_row(const OptionSpec& option) {
  std::string left = option.letter != '\0' ? fmt::format("  -{}, ", option.letter) : "      ";
  left += option.flag();
  if (!option.is_switch()) left += fmt::format(" {}", option.value);
  std::string text(option.help);
  if (!option.rule.allowed.empty() && !option.is_switch()) {
    text += fmt::format(" ({})", option.rule.allowed);
  }
  if (!option.fallback.empty()) text += fmt::format(" [default: {}]", option.fallback);
  return row(std::move(left), text, kOptionColumn);
}

std::string option_sections(const Command& command) {
  std::vector<std::string_view> groups;
  for (const OptionSpec& option : option_table()) {
    if ((option.commands & command.bit) != 0 && std::ranges::count(groups, option.group) == 0) {
      groups.push_back(option.group);
    }
  }
  std::string text;
  for (const std::string_view group : groups) {
    text += fmt::format("\n{}:\n", group);
    for (const OptionSpec& option : option_table()) {
      if (option.group == group && (option.commands & command.bit) != 0) text += option_row(option);
    }
  }
  return text;
}

std::string exit_code_section() {
  std::string text = "\nExit codes:\n";
  for (const auto& [code, meaning] : exit_codes()) {
    text += row(fmt::format("  {}", static_cast<int>(code)), meaning, 8);
  }
  return text;
}

}  // namespace

std::string general_help() {
  std::string text = fmt::format(
      "dinfer {}: inference of large language models over several ranks\n\n"
      "usage: dinfer COMMAND [OPTION]...\n"
      "       mpirun -np N dinfer COMMAND [OPTION]...\n\nCommands:\n",
      build_info().version);
  for (const Command& command : command_table()) {
    if (command.run != nullptr) {
      text += row(fmt::format("  {} {}", command.name, command.arguments), command.summary, 28);
    }
  }
  text += "\ndinfer help COMMAND lists the options of a command.\n";
  return text + exit_code_section();
}

std::string command_help(const Command& command) {
  std::string text = fmt::format("usage: dinfer {}{}{}{}\n\n{}\n", command.name,
                                 command.arguments.empty() ? "" : " ", command.arguments,
                                 command.bit == 0 ? "" : " [OPTION]...", command.summary);
  std::string_view rest = command.details;
  if (!rest.empty()) text += "\n";
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    text += (line.starts_with("  ") ? std::string(line) : wrap(line, 0)) + "\n";
  }
  if (command.bit == 0) return text;
  text += option_sections(command) + "\n" +
          wrap(
              "Each option is also an environment variable, --max-tokens for example "
              "DINFER_MAX_TOKENS; the command line wins.",
              0) +
          "\n";
  return text + exit_code_section();
}

int help_command(const Options& options) {
  std::string text;
  if (options.arguments.empty()) {
    text = general_help();
  } else if (options.arguments[0] == "man-page") {
    text = man_page();
  } else {
    const Command* command = find_command(options.arguments[0]);
    if (command == nullptr || command->run == nullptr) {
      fail(ExitCode::usage, "no help on {}; dinfer help lists the commands", options.arguments[0]);
    }
    text = command_help(*command);
  }
  write_output(text);
  return 0;
}

}  // namespace dinfer
