#pragma once

#include <string_view>

namespace dinfer {

// Writes all of it to standard output at once, whatever signals come meanwhile. A full disk, a
// closed pipe, or a reader that takes nothing more for two seconds after a signal, is an
// Error(config).
void write_output(std::string_view text);

}  // namespace dinfer
