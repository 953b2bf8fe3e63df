#include "text/jinja_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>

#include "text/jinja_value.h"

namespace dinfer::jinja {

void TextBuilder::room_for(size_t bytes) const {
  if (bytes > limit_ - std::min(limit_, text_.bytes.size())) {
    throw TemplateError("a text grows beyond " + std::to_string(limit_) + " bytes");
  }
}

void TextBuilder::mark(size_t begin, size_t end) {
  if (begin == end) return;
  if (!text_.data.empty() && text_.data.back().end == begin) {
    text_.data.back().end = end;
  } else {
    text_.data.push_back({begin, end});
  }
}

void TextBuilder::add(std::string_view bytes, bool data) {
  room_for(bytes.size());
  const size_t begin = text_.bytes.size();
  text_.bytes += bytes;
  if (data) mark(begin, text_.bytes.size());
}

void TextBuilder::add(const Text& text, size_t begin, size_t end) {
  room_for(end - begin);
  const size_t base = text_.bytes.size();
  text_.bytes.append(text.bytes, begin, end - begin);
  auto span = std::upper_bound(text.data.begin(), text.data.end(), begin,
                               [](size_t at, const TextSpan& s) { return at < s.end; });
  for (; span != text.data.end() && span->begin < end; ++span) {
    mark(base + std::max(span->begin, begin) - begin, base + std::min(span->end, end) - begin);
  }
}

void TextBuilder::fill(size_t count, std::string_view bytes) {
  if (bytes.empty()) return;
  if (count > limit_) room_for(limit_ + 1);
  room_for(count * bytes.size());
  for (size_t i = 0; i < count; ++i) text_.bytes += bytes;
}

Character character_at(std::string_view bytes, size_t offset) {
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(bytes.data()) + offset;
  if (*at < 0x80) return {*at, 1};
  utf8proc_int32_t code = 0;
  const auto size =
      utf8proc_iterate(at, static_cast<utf8proc_ssize_t>(bytes.size() - offset), &code);
  if (size <= 0) return {0xFFFD, 1};
  return {static_cast<char32_t>(code), static_cast<size_t>(size)};
}

std::string encode_character(char32_t code) {
  utf8proc_uint8_t bytes[4];
  const auto size = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes);
  if (size <= 0) return "\xEF\xBF\xBD";
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(size)};
}

size_t count_characters(std::string_view bytes) {
  size_t count = 0;
  for (size_t at = 0; at < bytes.size(); at += character_at(bytes, at).size) ++count;
  return count;
}

size_t offset_of_character(std::string_view bytes, size_t index) {
  size_t at = 0;
  for (; index > 0 && at < bytes.size(); --index) at += character_at(bytes, at).size;
  return at;
}

bool is_space(char32_t code) {
  if (code < 0x80) return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20);
  return code == 0x85 || code == 0xA0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200A) ||
         code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F || code == 0x3000;
}

namespace {

bool stripped(std::string_view character, char32_t code, const std::string_view* characters) {
  if (characters == nullptr) return is_space(code);
  for (size_t at = 0; at < characters->size();) {
    const size_t size = character_at(*characters, at).size;
    if (characters->substr(at, size) == character) return true;
    at += size;
  }
  return false;
}

}  // namespace

TextSpan strip(std::string_view bytes, const std::string_view* characters, bool left, bool right) {
  TextSpan rest{0, bytes.size()};
  while (left && rest.begin < rest.end) {
    const Character c = character_at(bytes, rest.begin);
    if (!stripped(bytes.substr(rest.begin, c.size), c.code, characters)) break;
    rest.begin += c.size;
  }
  while (right && rest.end > rest.begin) {
    size_t at = rest.end - 1;
    while (at > rest.begin && rest.end - at < 4 && (bytes[at] & 0xC0) == 0x80) --at;
    Character c = character_at(bytes, at);
    if (at + c.size != rest.end) c = {0xFFFD, 1}, at = rest.end - 1;
    if (!stripped(bytes.substr(at, c.size), c.code, characters)) break;
    rest.end = at;
  }
  return rest;
}

size_t find_first(std::string_view bytes, std::string_view needle, size_t begin) {
  if (begin > bytes.size()) return std::string_view::npos;
  if (needle.empty()) return begin;
  // memmem is linear in the worst case, string_view::find is not.
  const void* place =
      memmem(bytes.data() + begin, bytes.size() - begin, needle.data(), needle.size());
  if (place == nullptr) return std::string_view::npos;
  return static_cast<size_t>(static_cast<const char*>(place) - bytes.data());
}

size_t find_last(std::string_view bytes, std::string_view needle, size_t end) {
  const std::string backwards(bytes.rend() - static_cast<std::ptrdiff_t>(end), bytes.rend());
  const std::string wanted(needle.rbegin(), needle.rend());
  const size_t place = find_first(backwards, wanted);
  return place == std::string_view::npos ? place : end - place - needle.size();
}

}  // namespace dinfer::jinja
