#pragma once

#include <cstddef>
#include <string_view>

namespace dinfer {

// Writes all of it to standard output. A full disk, or a closed pipe, is an Error(config).
void write_output(std::string_view text);

// Writes what standard output takes without waiting; how many bytes that was.
size_t write_what_is_taken(std::string_view text);

}  // namespace dinfer
