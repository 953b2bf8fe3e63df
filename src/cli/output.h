#pragma once

#include <string_view>

namespace dinfer {

// Writes to standard output at once. A full disk or a closed pipe is an Error(config).
void write_output(std::string_view text);

}  // namespace dinfer
