#include "text/jinja_split.h"

#include <algorithm>

#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

constexpr size_t npos = std::string_view::npos;

std::vector<Value> split_at_space(Runtime& runtime, const Text& text, int64_t most) {
  std::vector<Value> parts;
  const std::string_view bytes = text.bytes;
  size_t at = strip(bytes, nullptr, true, false).begin;
  while (at < bytes.size()) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(runtime.slice(text, at, bytes.size()));
      break;
    }
    size_t end = at;
    while (end < bytes.size()) {
      const Character c = character_at(bytes, end);
      if (is_space(c.code)) break;
      end += c.size;
    }
    parts.push_back(runtime.slice(text, at, end));
    at = end + strip(bytes.substr(end), nullptr, true, false).begin;
  }
  return parts;
}

std::vector<Value> split_at_space_from_right(Runtime& runtime, const Text& text, int64_t most) {
  std::vector<Value> parts;
  const std::string_view bytes = text.bytes;
  size_t end = strip(bytes, nullptr, false, true).end;
  while (end > 0) {
    if (most >= 0 && static_cast<int64_t>(parts.size()) == most) {
      parts.push_back(runtime.slice(text, 0, end));
      break;
    }
    size_t begin = end, rest = end;
    for (; begin > 0; begin = rest) {  // `rest`: the text without one more character
      rest = begin - 1;
      while (rest > 0 && (bytes[rest] & 0xC0) == 0x80) --rest;
      if (is_space(character_at(bytes, rest).code)) break;
    }
    parts.push_back(runtime.slice(text, begin, end));
    end = strip(bytes.substr(0, begin), nullptr, false, true).end;
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

// Bytes of the line break at `at`, 0: none. The set is that of Python's str.splitlines.
size_t line_break(std::string_view bytes, size_t at) {
  const Character c = character_at(bytes, at);
  if (c.code == '\r') return at + 1 < bytes.size() && bytes[at + 1] == '\n' ? 2 : 1;
  const bool is_break = (c.code >= 0x0A && c.code <= 0x0C) || (c.code >= 0x1C && c.code <= 0x1E) ||
                        c.code == 0x85 || c.code == 0x2028 || c.code == 0x2029;
  return is_break ? c.size : 0;
}

}  // namespace

std::vector<Value> split(Runtime& runtime, const Text& text, const Value& separator, int64_t most) {
  runtime.charge_bytes(text.bytes.size());
  if (separator.is_none()) return split_at_space(runtime, text, most);
  const std::string_view wanted = separator.view();
  if (wanted.empty()) throw TemplateError("empty separator");
  std::vector<Value> parts;
  size_t at = 0;
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    const size_t place = find_first(text.bytes, wanted, at);
    if (place == npos) break;
    parts.push_back(runtime.slice(text, at, place));
    at = place + wanted.size();
  }
  parts.push_back(runtime.slice(text, at, text.bytes.size()));
  return parts;
}

std::vector<Value> split_from_right(Runtime& runtime, const Text& text, const Value& separator,
                                    int64_t most) {
  runtime.charge_bytes(text.bytes.size());
  if (separator.is_none()) return split_at_space_from_right(runtime, text, most);
  const std::string_view wanted = separator.view();
  if (wanted.empty()) throw TemplateError("empty separator");
  std::vector<Value> parts;
  size_t end = text.bytes.size();
  while (most < 0 || static_cast<int64_t>(parts.size()) < most) {
    runtime.charge_bytes(2 * end);  // find_last looks through everything before `end`
    const size_t place = find_last(text.bytes, wanted, end);
    if (place == npos) break;
    parts.push_back(runtime.slice(text, place + wanted.size(), end));
    end = place;
  }
  parts.push_back(runtime.slice(text, 0, end));
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<Value> split_lines(Runtime& runtime, const Text& text, bool keep_ends) {
  runtime.charge_bytes(text.bytes.size());
  std::vector<Value> lines;
  size_t begin = 0;
  for (size_t at = 0; at < text.bytes.size();) {
    const size_t size = line_break(text.bytes, at);
    if (size == 0) {
      at += character_at(text.bytes, at).size;
      continue;
    }
    lines.push_back(runtime.slice(text, begin, keep_ends ? at + size : at));
    at += size;
    begin = at;
  }
  if (begin < text.bytes.size()) lines.push_back(runtime.slice(text, begin, text.bytes.size()));
  return lines;
}

Value join(Runtime& runtime, const Text& separator, const std::vector<Value>& items) {
  TextBuilder joined = runtime.builder();
  for (size_t i = 0; i < items.size(); ++i) {
    runtime.charge(1);
    if (i > 0) joined.add(separator);
    print(runtime, joined, items[i]);
  }
  return runtime.text(joined);
}

Value replace(Runtime& runtime, const Value& text, const Value& old, const Value& with,
              int64_t most) {
  const Text& source = text.text();
  const std::string& wanted = old.text().bytes;
  runtime.charge_bytes(2 * source.bytes.size());
  TextBuilder out = runtime.builder();
  size_t at = 0;
  int64_t count = 0;
  if (wanted.empty()) {
    for (; most < 0 || count < most; ++count) {
      out.add(with.text());
      if (at >= source.bytes.size()) break;
      const size_t size = character_at(source.bytes, at).size;
      out.add(source, at, at + size);
      at += size;
    }
  }
  while (!wanted.empty() && (most < 0 || count++ < most)) {
    const size_t place = find_first(source.bytes, wanted, at);
    if (place == npos) break;
    out.add(source, at, place);
    out.add(with.text());
    at = place + wanted.size();
  }
  out.add(source, at, source.bytes.size());
  Text result = out.take();
  result.markup = source.markup;
  return runtime.text(std::move(result));
}

Value pad(Runtime& runtime, const Text& text, int64_t width, std::string_view fill, char align) {
  runtime.charge_bytes(text.bytes.size());
  const auto size = static_cast<int64_t>(count_characters(text.bytes));
  const size_t padding = width > size ? static_cast<size_t>(width - size) : 0;
  // str.center puts the odd fill character left when the width is odd.
  const size_t centred = padding / 2 + (padding & static_cast<size_t>(width) & 1);
  const size_t before = align == '<' ? 0 : align == '>' ? padding : centred;
  TextBuilder out = runtime.builder();
  out.fill(before, fill);
  out.add(text);
  out.fill(padding - before, fill);
  return runtime.text(out);
}

}  // namespace dinfer::jinja
