#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cli/command.h"
#include "cli/options.h"

namespace dinfer {

struct Invocation {
  const Command* command = nullptr;
  Options options;
  std::vector<std::string> warnings;
};

// What the user asks for. `arguments` are those after the program's name, `environment` entries are
// "NAME=value"; an option on the command line wins over its DINFER_* variable. An unknown command
// or option, a value that is not allowed or a missing model is an Error(usage) of one line that
// names it and what would be right.
Invocation parse_arguments(std::span<const std::string> arguments,
                           std::span<const std::string_view> environment);

}  // namespace dinfer
