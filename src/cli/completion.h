#pragma once

#include <string>

#include "cli/options.h"

namespace dinfer {

std::string bash_completion();
std::string zsh_completion();
std::string fish_completion();

// completion bash|zsh|fish
int completion_command(const Options& options);

}  // namespace dinfer
