#pragma once

#include "cli/options.h"

namespace dinfer {

// --version [--json]
int version_command(const Options& options);

}  // namespace dinfer
