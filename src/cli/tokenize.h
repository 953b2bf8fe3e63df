#pragma once

#include "cli/options.h"

namespace dinfer {

// tokenize: text to ids, ids to text (--decode), a conversation to ids or text (--chat).
int tokenize_command(const Options& options);

}  // namespace dinfer
