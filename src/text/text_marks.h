#pragma once

#include <algorithm>
#include <string_view>

namespace dinfer {

// Bytes at the end of `text` with which `mark` could begin: they have to wait for what follows.
inline size_t overlap(std::string_view text, std::string_view mark) {
  for (size_t length = std::min(text.size(), mark.size() - 1); length > 0; --length)
    if (text.ends_with(mark.substr(0, length))) return length;
  return 0;
}

}  // namespace dinfer
