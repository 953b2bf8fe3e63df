#pragma once

#include <span>
#include <string>
#include <string_view>

#include "cli/option_table.h"
#include "cli/options.h"

namespace dinfer {

struct Command {
  std::string_view name;
  CommandSet bit = 0;  // which options of the table it takes
  std::string_view summary;
  std::string_view
      details;  // paragraphs of the help; a line that starts with two blanks stays as it is
  std::string_view arguments;  // its positional arguments, as the usage line shows them
  size_t most_arguments = 0;
  bool needs_model = false;
  int (*run)(const Options&) = nullptr;  // the exit code; nullptr: not in this version
};

std::span<const Command> command_table();

// nullptr when there is no such command.
const Command* find_command(std::string_view name);

// "run, score and tokenize"
std::string names_of(CommandSet commands);

}  // namespace dinfer
