#pragma once

#include "cli/options.h"

namespace dinfer {

int serve_command(const Options& options);

}  // namespace dinfer
