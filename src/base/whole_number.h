#pragma once

#include <charconv>
#include <optional>
#include <string_view>
#include <system_error>

namespace dinfer {

// All of `text` as digits of a number from 0 to `most`; none: it is something else.
template <class Number>
std::optional<Number> whole_number(std::string_view text, Number most) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || text.front() == '-' ||
      value > most)
    return std::nullopt;
  return value;
}

}  // namespace dinfer
