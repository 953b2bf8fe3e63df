#pragma once

#include <charconv>
#include <cmath>
#include <functional>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "cli/options.h"

namespace dinfer {

// How the text of one option becomes a member of Options. The rules below take a `member`: a
// pointer to a member of Options, or a function from Options& to a reference.
struct ValueRule {
  std::string allowed;               // what a value must be, for messages; empty: any text
  std::vector<std::string> choices;  // when only these are allowed
  std::function<bool(Options&, std::string_view)> set;  // false: the text is not allowed
};

template <class T>
struct Bounds {
  T low;
  T high = std::numeric_limits<T>::max();
  bool low_excluded = false;

  bool contains(T value) const {
    return (low_excluded ? value > low : value >= low) && value <= high;  // false for NaN
  }
  std::string text() const {
    const std::string from = fmt::format("{} {}", low_excluded ? "above" : "at least", low);
    return high == std::numeric_limits<T>::max() ? from : fmt::format("{}, at most {}", from, high);
  }
};

template <class Number>
bool parse_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

template <class T>
struct Unwrapped {
  using Type = T;
};
template <class T>
struct Unwrapped<std::optional<T>> {
  using Type = T;
};
// What a member holds: int for both int and std::optional<int>.
template <class Member>
using ValueOf =
    typename Unwrapped<std::remove_cvref_t<std::invoke_result_t<Member, Options&>>>::Type;

template <class Member>
ValueRule any_text(Member member) {
  return {"", {}, [member](Options& options, std::string_view text) {
            std::invoke(member, options) = std::string(text);
            return true;
          }};
}

// Each use adds one text.
template <class Member>
ValueRule texts(Member member) {
  return {"text that is not empty", {}, [member](Options& options, std::string_view text) {
            if (text.empty()) return false;
            std::invoke(member, options).emplace_back(text);
            return true;
          }};
}

template <class Member>
ValueRule one_of(Member member, std::vector<std::string> choices) {
  const auto set = [member, choices](Options& options, std::string_view text) {
    if (std::find(choices.begin(), choices.end(), text) == choices.end()) return false;
    if constexpr (std::is_arithmetic_v<ValueOf<Member>>) {
      return parse_number(text, std::invoke(member, options));
    } else {
      std::invoke(member, options) = std::string(text);
      return true;
    }
  };
  std::string allowed;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (i > 0) allowed += i + 1 == choices.size() ? " or " : ", ";
    allowed += choices[i];
  }
  return {std::move(allowed), std::move(choices), set};
}

template <class Member>
ValueRule number(Member member, Bounds<ValueOf<Member>> bounds) {
  using Number = ValueOf<Member>;
  const std::string_view kind = std::is_floating_point_v<Number> ? "a number" : "a whole number";
  return {fmt::format("{}, {}", kind, bounds.text()),
          {},
          [member, bounds](Options& options, std::string_view text) {
            Number value{};
            if (!parse_number(text, value) || !bounds.contains(value)) return false;
            if (std::is_floating_point_v<Number> && !std::isfinite(double(value))) return false;
            std::invoke(member, options) = value;
            return true;
          }};
}

// Whole numbers separated by commas; each use replaces the list.
template <class Member>
ValueRule numbers(Member member, Bounds<typename ValueOf<Member>::value_type> bounds) {
  using Number = typename ValueOf<Member>::value_type;
  return {fmt::format("whole numbers separated by commas, each {}", bounds.text()),
          {},
          [member, bounds](Options& options, std::string_view text) {
            std::vector<Number> values;
            while (true) {
              const size_t comma = text.find(',');
              Number value{};
              if (!parse_number(text.substr(0, comma), value) || !bounds.contains(value))
                return false;
              values.push_back(value);
              if (comma == std::string_view::npos) break;
              text.remove_prefix(comma + 1);
            }
            std::invoke(member, options) = std::move(values);
            return true;
          }};
}

// A switch: "1" or "true", "0" or "false" (the command line passes "1").
template <class Member>
ValueRule toggle(Member member) {
  return {"1, true, 0 or false", {}, [member](Options& options, std::string_view text) {
            const bool on = text == "1" || text == "true";
            if (!on && text != "0" && text != "false") return false;
            std::invoke(member, options) = on;
            return true;
          }};
}

}  // namespace dinfer
