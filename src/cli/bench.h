#pragma once

#include "cli/options.h"

namespace dinfer {

// `dinfer bench`: speed of the engine itself on this layout. Returns the exit code.
int bench_command(const Options& options);

}  // namespace dinfer
