#pragma once

#include <string>

#include "text/jinja_runtime.h"

// Texts of values, byte for byte as Python writes them.
namespace dinfer::jinja {

Value to_text(Runtime& runtime, const Value& value);                 // str(value)
Value repr(Runtime& runtime, const Value& value);                    // repr(value)
void print(Runtime& runtime, TextBuilder& out, const Value& value);  // adds str(value)

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  bool pretty = false;  // a line for each item, with `indent`
  std::string indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// json.dumps(value); the whole of it is data.
Value to_json(Runtime& runtime, const Value& value, const JsonStyle& style);

std::string repr_of_real(double value);
std::string repr_of_string(std::string_view bytes);
std::string fixed_digits(double value, int precision);  // "%.*f"

// text % value.
Value format_percent(Runtime& runtime, const Value& text, const Value& value);
// text.format(...).
Value format_braces(Runtime& runtime, const Text& text, const Arguments& arguments);

}  // namespace dinfer::jinja
