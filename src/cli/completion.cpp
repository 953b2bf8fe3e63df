#include "cli/completion.h"

#include "base/error.h"
#include "cli/command.h"
#include "cli/output.h"

namespace dinfer {

namespace {

constexpr std::string_view kShells = "bash zsh fish";

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::vector<const Command*> available_commands() {
  std::vector<const Command*> commands;
  for (const Command& command : command_table()) {
    if (command.run != nullptr) commands.push_back(&command);
  }
  return commands;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command* command : available_commands()) names.emplace_back(command->name);
  return names;
}

std::vector<const OptionSpec*> options_of(const Command& command) {
  std::vector<const OptionSpec*> options;
  for (const OptionSpec& option : option_table()) {
    if ((option.commands & command.bit) != 0) options.push_back(&option);
  }
  return options;
}

// What may follow the command itself.
std::string argument_words(const Command& command) {
  if (command.name == "completion") return std::string(kShells);
  return command.name == "help" ? join(command_names()) + " man-page" : "";
}

// `text` with a backslash before each character of `special`.
std::string escape(std::string_view text, std::string_view special) {
  std::string escaped;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) escaped += '\\';
    escaped += c;
  }
  return escaped;
}

// `text` as one word of a POSIX shell.
std::string quote(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

std::string bash_completion() {
  std::string words;  // case branches: words of each command
  for (const Command* command : available_commands()) {
    std::vector<std::string> list{"--help"};
    for (const OptionSpec* option : options_of(*command)) list.push_back(option->flag());
    const std::string arguments = argument_words(*command);
    words += fmt::format("    {}) words='{}' ;;\n", command->name,
                         arguments.empty() ? join(list) : arguments);
  }
  std::string values;  // case branches: what follows an option
  for (const OptionSpec& option : option_table()) {
    if (option.is_switch()) continue;
    std::string pattern = option.flag();
    if (option.letter != '\0') pattern += fmt::format("|-{}", option.letter);
    if (!option.rule.choices.empty()) {
      values += fmt::format("    {}) COMPREPLY=($(compgen -W '{}' -- \"$current\")); return ;;\n",
                            pattern, join(option.rule.choices));
    } else {
      values += fmt::format("    {}) {}return ;;\n", pattern,
                            option.is_path() ? "COMPREPLY=($(compgen -f -- \"$current\")); " : "");
    }
  }
  return fmt::format(
      "# bash completion of dinfer\n"
      "_dinfer() {{\n"
      "  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words\n"
      "  COMPREPLY=()\n"
      "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
      "    COMPREPLY=($(compgen -W '{} --help' -- \"$current\"))\n"
      "    return\n"
      "  fi\n"
      "  case $previous in\n{}  esac\n"
      "  case ${{COMP_WORDS[1]}} in\n{}  esac\n"
      "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
      "}}\n"
      "complete -o filenames -F _dinfer dinfer\n",
      join(command_names()), values, words);
}

std::string zsh_completion() {
  std::string commands;
  std::string branches;
  for (const Command* command : available_commands()) {
    commands += fmt::format(
        "    {}\n", quote(escape(command->name, ":") + ":" + std::string(command->summary)));
    branches += fmt::format("    {})\n      _arguments '--help[show help]'", command->name);
    for (const OptionSpec* option : options_of(*command)) {
      std::string action;
      if (!option->rule.choices.empty()) {
        action = fmt::format(":{}:({})", option->value, join(option->rule.choices));
      } else if (!option->is_switch()) {
        action = fmt::format(":{}:{}", option->value, option->is_path() ? "_files" : "");
      }
      const std::string rest = "[" + escape(option->help, "[]:") + "]" + action;
      if (option->letter != '\0') {
        branches +=
            fmt::format(" \\\n        {}", quote(fmt::format("-{}{}", option->letter, rest)));
      }
      branches += fmt::format(" \\\n        {}", quote(option->flag() + rest));
    }
    const std::string arguments = argument_words(*command);
    if (!arguments.empty()) branches += fmt::format(" \\\n        '1:argument:({})'", arguments);
    branches += "\n      ;;\n";
  }
  return fmt::format(
      "#compdef dinfer\n"
      "_dinfer() {{\n"
      "  local -a commands=(\n{}  )\n"
      "  if (( CURRENT == 2 )); then\n"
      "    _describe command commands\n"
      "    return\n"
      "  fi\n"
      "  shift words\n"
      "  (( CURRENT-- ))\n"
      "  case $words[1] in\n{}  esac\n"
      "}}\n"
      "compdef _dinfer dinfer\n",
      commands, branches);
}

std::string fish_completion() {
  std::string script = "# fish completion of dinfer\ncomplete -c dinfer -f\n";
  for (const Command* command : available_commands()) {
    script += fmt::format("complete -c dinfer -n __fish_use_subcommand -a {} -d {}\n",
                          quote(command->name), quote(command->summary));
    const std::string condition =
        fmt::format("complete -c dinfer -n '__fish_seen_subcommand_from {}'", command->name);
    for (const OptionSpec* option : options_of(*command)) {
      script += fmt::format("{} -l {}", condition, option->name);
      if (option->letter != '\0') script += fmt::format(" -s {}", option->letter);
      if (!option->rule.choices.empty()) {
        script += fmt::format(" -x -a {}", quote(join(option->rule.choices)));
      } else if (!option->is_switch()) {
        script += option->is_path() ? " -r -F" : " -x";
      }
      script += fmt::format(" -d {}\n", quote(option->help));
    }
    const std::string arguments = argument_words(*command);
    if (!arguments.empty()) script += fmt::format("{} -a {}\n", condition, quote(arguments));
  }
  return script;
}

int completion_command(const Options& options) {
  const std::string shell = options.arguments.empty() ? "" : options.arguments[0];
  if (shell == "bash") {
    write_output(bash_completion());
  } else if (shell == "zsh") {
    write_output(zsh_completion());
  } else if (shell == "fish") {
    write_output(fish_completion());
  } else {
    fail(ExitCode::usage, "completion {}: name a shell: bash, zsh or fish", shell);
  }
  return 0;
}

}  // namespace dinfer
