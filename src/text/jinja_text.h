#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer::jinja {

// A string of the template language: UTF-8, and which of its bytes came from the data.
struct Text {
  std::string bytes;
  std::vector<TextSpan> data;  // ascending, disjoint, not touching
  bool markup = false;         // result of the safe and escape filters: concatenation escapes

  bool any_data() const { return !data.empty(); }
};

// Concatenates texts and keeps track of the bytes that are data. More than `limit` bytes are a
// TemplateError.
class TextBuilder {
 public:
  explicit TextBuilder(size_t limit) : limit_(limit) {}

  void add(std::string_view bytes, bool data = false);
  void add(const Text& text) { add(text, 0, text.bytes.size()); }
  void add(const Text& text, size_t begin, size_t end);  // bytes [begin, end) of text
  void fill(size_t count, std::string_view bytes);
  size_t size() const { return text_.bytes.size(); }
  Text take() { return std::move(text_); }

 private:
  void room_for(size_t bytes) const;
  void mark(size_t begin, size_t end);

  size_t limit_;
  Text text_;
};

// One character; bytes that are no UTF-8 count as characters of their own.
struct Character {
  char32_t code = 0;  // U+FFFD for a broken one
  size_t size = 1;    // bytes
};
Character character_at(std::string_view bytes, size_t offset);
std::string encode_character(char32_t code);

size_t count_characters(std::string_view bytes);
// Byte offset of character `index`; the size of `bytes` where there are fewer.
size_t offset_of_character(std::string_view bytes, size_t index);

bool is_space(char32_t code);  // Python's str.isspace
// Python's str.strip: what remains of `bytes` as [begin, end) without white space, or without the
// characters of `*characters`, at either end.
TextSpan strip(std::string_view bytes, const std::string_view* characters, bool left, bool right);

// First or last place of `needle` in bytes [begin, end), in linear time; npos where there is none.
size_t find_first(std::string_view bytes, std::string_view needle, size_t begin = 0);
size_t find_last(std::string_view bytes, std::string_view needle, size_t end);

}  // namespace dinfer::jinja
