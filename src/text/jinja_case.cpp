#include "text/jinja_case.h"

#include <utf8proc.h>

namespace dinfer::jinja {
namespace {

utf8proc_int32_t code_of(char32_t code) { return static_cast<utf8proc_int32_t>(code); }

bool is_upper(char32_t code) { return utf8proc_isupper(code_of(code)) != 0; }
bool is_lower(char32_t code) { return utf8proc_islower(code_of(code)) != 0; }
bool is_cased(char32_t code) {
  return is_upper(code) || is_lower(code) ||
         utf8proc_category(code_of(code)) == UTF8PROC_CATEGORY_LT;
}

bool is_alphabetic(char32_t code) {
  switch (utf8proc_category(code_of(code))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return true;
    default:
      return false;
  }
}

bool is_decimal(char32_t code) { return utf8proc_category(code_of(code)) == UTF8PROC_CATEGORY_ND; }

bool is_digit(char32_t code) {  // also superscripts and subscripts
  return is_decimal(code) || code == 0xB2 || code == 0xB3 || code == 0xB9 || code == 0x2070 ||
         (code >= 0x2074 && code <= 0x2079) || (code >= 0x2080 && code <= 0x2089);
}

bool is_numeric(char32_t code) {
  const auto category = utf8proc_category(code_of(code));
  return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL ||
         category == UTF8PROC_CATEGORY_NO;
}

std::string upper(char32_t code) {
  if (code == 0xDF) return "SS";
  return encode_character(static_cast<char32_t>(utf8proc_toupper(code_of(code))));
}

std::string title(char32_t code) {
  if (code == 0xDF) return "Ss";
  return encode_character(static_cast<char32_t>(utf8proc_totitle(code_of(code))));
}

std::string lower(char32_t code) {
  if (code == 0x130) return "i\u0307";
  return encode_character(static_cast<char32_t>(utf8proc_tolower(code_of(code))));
}

bool starts_word(char32_t code) {
  return is_space(code) || code == '-' || code == '(' || code == '{' || code == '[' || code == '<';
}

// `at_start`: of the text or of a word.
std::string converted(char32_t code, Casing casing, bool at_start) {
  switch (casing) {
    case Casing::upper:
      return upper(code);
    case Casing::lower:
      return lower(code);
    case Casing::fold:
      return code == 0xDF ? "ss" : lower(code);
    case Casing::swap:
      return is_upper(code) ? lower(code) : upper(code);
    case Casing::words:
      return at_start ? upper(code) : lower(code);
    default:
      return at_start ? title(code) : lower(code);
  }
}

bool in_class(char32_t code, CharacterTest test) {
  switch (test) {
    case CharacterTest::alphabetic:
      return is_alphabetic(code);
    case CharacterTest::alphanumeric:
      return is_alphabetic(code) || is_numeric(code);
    case CharacterTest::ascii:
      return code < 0x80;
    case CharacterTest::decimal:
      return is_decimal(code);
    case CharacterTest::digit:
      return is_digit(code);
    case CharacterTest::numeric:
      return is_numeric(code);
    default:
      return is_space(code);
  }
}

bool single_case(std::string_view bytes, bool want_upper) {
  bool any = false;
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    at += c.size;
    if (!is_cased(c.code)) continue;
    if (want_upper ? !is_upper(c.code) : !is_lower(c.code)) return false;
    any = true;
  }
  return any;
}

}  // namespace

Value change_case(Runtime& runtime, const Text& text, Casing casing) {
  runtime.charge_bytes(8 * text.bytes.size());
  TextBuilder out = runtime.builder();
  bool at_start = true;
  auto span = text.data.begin();
  for (size_t at = 0; at < text.bytes.size();) {
    const Character c = character_at(text.bytes, at);
    while (span != text.data.end() && span->end <= at) ++span;
    const bool data = span != text.data.end() && span->begin <= at;
    if (c.size == 1 && c.code == 0xFFFD) {
      out.add(text, at, at + 1);
    } else {
      out.add(converted(c.code, casing, at_start), data);
    }
    at += c.size;
    at_start = casing == Casing::title   ? !is_cased(c.code)
               : casing == Casing::words ? starts_word(c.code)
                                         : false;
  }
  Text result = out.take();
  result.markup = text.markup;
  return runtime.text(std::move(result));
}

bool all_characters(std::string_view bytes, CharacterTest test) {
  if (test == CharacterTest::lower || test == CharacterTest::upper) {
    return single_case(bytes, test == CharacterTest::upper);
  }
  if (bytes.empty()) return test == CharacterTest::ascii;
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    if (!in_class(c.code, test)) return false;
    at += c.size;
  }
  return true;
}

}  // namespace dinfer::jinja
