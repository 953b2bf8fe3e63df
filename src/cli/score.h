#pragma once

#include "cli/options.h"

namespace dinfer {

// `dinfer score`: JSON lines from standard input, the log-probability of each token given those
// before it as JSON lines in the same order. Returns the exit code.
int score_command(const Options& options);

}  // namespace dinfer
