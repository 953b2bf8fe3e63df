#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace dinfer {

// A character read from UTF-8. Invalid bytes read as U+FFFD, one for each maximal subpart
// (Unicode 15, 3.9, "U+FFFD Substitution of Maximal Subparts").
struct Character {
  uint32_t code = 0;
  uint32_t bytes = 0;  // how far to move on, at least 1
  bool valid = false;
};

Character read_character(std::string_view text, size_t at);  // at < text.size()
void append_character(std::string& text, uint32_t code);

bool is_ascii(std::string_view text);
bool is_valid_utf8(std::string_view text);
std::string to_valid_utf8(std::string_view text);

// How many bytes at the end of `text` begin a character that further bytes may complete: 0 to 3.
size_t unfinished_bytes(std::string_view text);

// Unicode's White_Space property.
bool is_white_space(uint32_t code);

}  // namespace dinfer
