#pragma once

#include <cstdint>

#include "text/jinja_runtime.h"

// Upper and lower case, and classes of characters, by Unicode.
namespace dinfer::jinja {

// `words`: jinja2's title filter, whose words start after white space and -({[<.
enum class Casing : uint8_t { upper, lower, capitalize, title, swap, fold, words };
Value change_case(Runtime& runtime, const Text& text, Casing casing);

enum class CharacterTest : uint8_t {
  alphabetic,
  alphanumeric,
  ascii,
  decimal,
  digit,
  numeric,
  space,
  lower,
  upper
};
bool all_characters(std::string_view bytes, CharacterTest test);  // Python's str.is...

}  // namespace dinfer::jinja
