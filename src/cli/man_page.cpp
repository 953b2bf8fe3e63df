#include <string>

#include "base/build_info.h"
#include "cli/exit_codes.h"
#include "cli/help.h"

namespace dinfer {

namespace {

// Text that roff prints as it is.
std::string escape(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '\\':
        escaped += "\\e";
        break;
      case '-':
        escaped += "\\-";
        break;
      case '\'':
        escaped += "\\(aq";
        break;
      default:
        escaped += c;
    }
  }
  return escaped.starts_with('.') ? "\\&" + escaped : escaped;
}

std::string option_entry(const OptionSpec& option) {
  std::string entry = ".TP\n";
  if (option.letter != '\0') entry += fmt::format("\\fB\\-{}\\fR, ", option.letter);
  entry += fmt::format("\\fB{}\\fR", escape(option.flag()));
  if (!option.is_switch()) entry += fmt::format(" \\fI{}\\fR", escape(option.value));
  entry += fmt::format("\n{}", escape(option.help));
  if (!option.rule.allowed.empty() && !option.is_switch()) {
    entry += fmt::format(" ({})", escape(option.rule.allowed));
  }
  if (!option.fallback.empty()) entry += fmt::format(". Default: {}", escape(option.fallback));
  return entry + fmt::format(".\nTaken by {}. Environment: {}.\n",
                             escape(names_of(option.commands)), option.environment());
}

std::string command_entry(const Command& command) {
  std::string entry = fmt::format(".TP\n\\fBdinfer {}\\fR", escape(command.name));
  if (!command.arguments.empty()) entry += fmt::format(" \\fI{}\\fR", escape(command.arguments));
  entry += fmt::format("\n{}.\n", escape(command.summary));
  std::string_view rest = command.details;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const bool example = line.starts_with("  ");
    entry += fmt::format("{}{}\n", example ? ".br\n" : "", escape(example ? line.substr(2) : line));
  }
  return entry;
}

}  // namespace

std::string man_page() {
  std::string page = fmt::format(
      ".TH DINFER 1 \"\" \"dinfer {}\" \"User Commands\"\n"
      ".SH NAME\ndinfer \\- inference of large language models over several ranks\n"
      ".SH SYNOPSIS\n\\fBdinfer\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n.br\n"
      "\\fBmpirun \\-np\\fR \\fIN\\fR \\fBdinfer\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n"
      ".SH COMMANDS\n",
      build_info().version);
  for (const Command& command : command_table()) {
    if (command.run != nullptr) page += command_entry(command);
  }
  page += ".SH OPTIONS\n";
  std::string_view group;
  for (const OptionSpec& option : option_table()) {
    if (option.group != group) page += fmt::format(".SS {}\n", escape(group = option.group));
    page += option_entry(option);
  }
  page += ".SH EXIT STATUS\n";
  for (const auto& [code, meaning] : exit_codes()) {
    page += fmt::format(".TP\n{}\n{}\n", static_cast<int>(code), escape(meaning));
  }
  return page;
}

}  // namespace dinfer
