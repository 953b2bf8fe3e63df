#pragma once

#include <string>
#include <string_view>

namespace dinfer {

// A name from a foreign file, made safe for a one-line message: in quotes, at most 100 characters,
// anything but printable ASCII replaced by '?'.
inline std::string printable(std::string_view name) {
  constexpr size_t kMost = 100;
  std::string out = "\"";
  for (const char c : name.substr(0, kMost)) out += c >= 0x20 && c < 0x7f ? c : '?';
  if (name.size() > kMost) out += "...";
  return out + "\"";
}

}  // namespace dinfer
