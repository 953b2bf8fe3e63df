#pragma once

#include <span>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace dinfer {

// What each exit code tells, for the help and the man page.
std::span<const std::pair<ExitCode, std::string_view>> exit_codes();

}  // namespace dinfer
