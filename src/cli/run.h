#pragma once

#include "cli/options.h"

namespace dinfer {

// `dinfer run`: one answer, or a chat on a terminal. Returns the exit code.
int run_command(const Options& options);

}  // namespace dinfer
