#pragma once

#include "cli/options.h"
#include "cli/start.h"

namespace dinfer {

// A conversation on a terminal, with its history. Returns the exit code.
int chat(Head& head, const Options& options);

}  // namespace dinfer
