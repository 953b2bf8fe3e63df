#pragma once

#include <string>

#include "cli/command.h"
#include "cli/options.h"

namespace dinfer {

// Text of at most 100 columns.
std::string general_help();
std::string command_help(const Command& command);

// The manual page, in roff.
std::string man_page();

// help [COMMAND | man-page]
int help_command(const Options& options);

}  // namespace dinfer
