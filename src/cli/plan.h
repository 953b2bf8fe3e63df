#pragma once

#include "cli/options.h"

namespace dinfer {

// `dinfer plan`: what would go where, what fits and how fast, without loading anything.
int plan_command(const Options& options);

}  // namespace dinfer
