#pragma once

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>

namespace dinfer {

// `text` as one word of bash, in quotes where it needs them.
inline std::string shell_word(std::string_view text) {
  const bool is_plain = !text.empty() && std::ranges::all_of(text, [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_-./:,+@%=").find(c) != std::string_view::npos;
  });
  if (is_plain) return std::string(text);
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? "'\\''" : std::string(1, c);
  return word + "'";
}

}  // namespace dinfer
