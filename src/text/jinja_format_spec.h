#pragma once

#include <cstdint>

#include "text/jinja_runtime.h"

// What Python's two ways of formatting, text % values and text.format(values), have in common.
namespace dinfer::jinja {

// How one value is to be written; both ways fill it in.
struct Spec {
  std::string fill = " ";
  char align = 0;  // < > ^ =, or 0: the type's own
  char sign = '-';
  bool alternate = false;
  char grouping = 0;  // , or _
  size_t width = 0;
  int precision = -1;
  char type = 0;
};

inline bool digit(char c) { return c >= '0' && c <= '9'; }

// The number at text[at], moving `at` behind it.
size_t read_number(std::string_view text, size_t& at);
int checked_precision(size_t precision);

// Add a value as the spec says. `align`: < > ^ or =, where the spec names none.
void add_string(Runtime& runtime, TextBuilder& out, const Spec& spec, const Text& text, char align);
void add_character(TextBuilder& out, const Spec& spec, int64_t code, char align);
void add_integer(TextBuilder& out, const Spec& spec, const Value& value);  // an int or bool
void add_real(TextBuilder& out, const Spec& spec, double value);

}  // namespace dinfer::jinja
