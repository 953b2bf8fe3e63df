// text.format(values), https://docs.python.org/3/library/string.html#format-string-syntax
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja_attributes.h"
#include "text/jinja_format_spec.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

Spec parse_spec(std::string_view text) {
  Spec spec;
  size_t at = 0;
  const auto align_at = [&](size_t i) {
    return i < text.size() && std::string_view("<>=^").find(text[i]) != std::string_view::npos;
  };
  const size_t first = text.empty() ? 0 : character_at(text, 0).size;
  if (first > 0 && align_at(first)) {
    spec.fill = text.substr(0, first);
    spec.align = text[first];
    at = first + 1;
  } else if (align_at(0)) {
    spec.align = text[0];
    at = 1;
  }
  if (at < text.size() && (text[at] == '+' || text[at] == '-' || text[at] == ' ')) {
    spec.sign = text[at++];
  }
  if (at < text.size() && text[at] == '#') spec.alternate = true, ++at;
  if (at < text.size() && text[at] == '0') {
    if (spec.align == 0) spec.align = '=', spec.fill.assign(1, '0');
    ++at;
  }
  spec.width = read_number(text, at);
  if (at < text.size() && (text[at] == ',' || text[at] == '_')) spec.grouping = text[at++];
  if (at < text.size() && text[at] == '.') {
    ++at;
    if (at >= text.size() || !digit(text[at])) {
      throw TemplateError("Format specifier missing precision");
    }
    spec.precision = checked_precision(read_number(text, at));
  }
  if (at < text.size()) spec.type = text[at++];
  if (at != text.size()) throw TemplateError("Invalid format specifier");
  return spec;
}

class BraceFormatter {
 public:
  BraceFormatter(Runtime& runtime, const Arguments& arguments)
      : runtime_(runtime), arguments_(arguments) {}

  Text run(const Text& format, int depth) {
    if (depth > 2) throw TemplateError("Max string recursion exceeded");
    TextBuilder out = runtime_.builder();
    const std::string_view bytes = format.bytes;
    for (size_t at = 0; at < bytes.size();) {
      const size_t brace = std::min(bytes.find_first_of("{}", at), bytes.size());
      out.add(format, at, brace);
      if (brace == bytes.size()) break;
      if (brace + 1 < bytes.size() && bytes[brace + 1] == bytes[brace]) {
        out.add(format, brace, brace + 1);
        at = brace + 2;
        continue;
      }
      if (bytes[brace] == '}') {
        throw TemplateError("Single '}' encountered in format string");
      }
      const size_t close = closing_brace(bytes, brace);
      replacement(out, bytes.substr(brace + 1, close - brace - 1), depth);
      at = close + 1;
    }
    return out.take();
  }

 private:
  static size_t closing_brace(std::string_view bytes, size_t open) {
    int nested = 0;
    for (size_t at = open; at < bytes.size(); ++at) {
      if (bytes[at] == '{') ++nested;
      if (bytes[at] == '}' && --nested == 0) return at;
    }
    throw TemplateError("expected '}' before end of string");
  }

  void replacement(TextBuilder& out, std::string_view field, int depth) {
    runtime_.charge(1);
    std::string_view spec_text;
    size_t name_end = 0;
    for (bool in_brackets = false; name_end < field.size(); ++name_end) {
      if (field[name_end] == '[') in_brackets = true;
      if (field[name_end] == ']') in_brackets = false;
      if (!in_brackets && (field[name_end] == ':' || field[name_end] == '!')) break;
    }
    const std::string_view name = field.substr(0, name_end);
    char conversion = 0;
    if (name_end < field.size() && field[name_end] == '!') {
      if (name_end + 1 >= field.size()) throw TemplateError("unmatched '{' in format spec");
      conversion = field[name_end + 1];
      name_end += 2;
      if (name_end < field.size() && field[name_end] != ':') {
        throw TemplateError("expected ':' after conversion specifier");
      }
    }
    if (name_end < field.size()) spec_text = field.substr(name_end + 1);
    Value value = lookup(name);
    if (conversion == 'r' || conversion == 'a') {
      value = repr(runtime_, value);
    } else if (conversion == 's') {
      value = to_text(runtime_, value);
    } else if (conversion != 0) {
      throw TemplateError(fmt::format("Unknown conversion specifier {}", conversion));
    }
    const Text spec = run(Text{std::string(spec_text), {}, false}, depth + 1);
    add_formatted(out, value, spec.bytes);
  }

  Value lookup(std::string_view name) {
    size_t at = std::min(name.find_first_of(".["), name.size());
    Value value = argument(name.substr(0, at));
    while (at < name.size()) {
      if (name[at] == '.') {
        const size_t end = std::min(name.find_first_of(".[", at + 1), name.size());
        value = get_attribute(runtime_, value, name.substr(at + 1, end - at - 1));
        at = end;
        continue;
      }
      const size_t close = name[at] == '[' ? name.find(']', at) : name.npos;
      if (close == name.npos) throw TemplateError("Missing ']' in format string");
      const std::string_view key = name.substr(at + 1, close - at - 1);
      const bool number = !key.empty() && std::all_of(key.begin(), key.end(), digit);
      size_t begin = 0;
      value = get_item(
          runtime_, value,
          number ? Value(static_cast<int64_t>(read_number(key, begin))) : runtime_.text(key));
      at = close + 1;
    }
    return value;
  }

  Value argument(std::string_view name) {
    if (!name.empty() && !std::all_of(name.begin(), name.end(), digit)) {
      const Value* value = arguments_.find(name);
      if (value == nullptr) throw TemplateError("format key not found: " + repr_of_string(name));
      return *value;
    }
    size_t begin = 0;
    const size_t index = name.empty() ? next_++ : read_number(name, begin);
    if (index >= arguments_.positional.size()) {
      throw TemplateError(
          fmt::format("Replacement index {} out of range for positional args tuple", index));
    }
    return arguments_.positional[index];
  }

  void add_formatted(TextBuilder& out, const Value& value, std::string_view spec_text) {
    if (spec_text.empty()) return print(runtime_, out, value);
    Spec spec = parse_spec(spec_text);
    if (value.is_string() && (spec.type == 0 || spec.type == 's')) {
      return add_string(runtime_, out, spec, value.text(), '<');
    }
    const bool real_type =
        spec.type != 0 && std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos;
    if (value.is(Kind::real) || (value.is_number() && real_type)) {
      if (spec.type != 0 && !real_type && spec.type != 'n') unknown_type(spec.type, value);
      return add_real(out, spec, to_real(value));
    }
    if (value.is_number()) {
      if (spec.type == 'c') {
        return add_character(out, spec, to_integer(value, "a character code"), '<');
      }
      if (spec.precision >= 0) {
        throw TemplateError("Precision not allowed in integer format specifier");
      }
      if (spec.type != 0 && std::string_view("bdoxXn").find(spec.type) == std::string_view::npos) {
        unknown_type(spec.type, value);
      }
      return add_integer(out, spec, value);
    }
    if (value.is_string()) unknown_type(spec.type, value);
    throw TemplateError(
        fmt::format("unsupported format string passed to {}.__format__", type_name(value)));
  }

  [[noreturn]] static void unknown_type(char type, const Value& value) {
    throw TemplateError(
        fmt::format("Unknown format code '{}' for object of type '{}'", type, type_name(value)));
  }

  Runtime& runtime_;
  const Arguments& arguments_;
  size_t next_ = 0;
};

}  // namespace

Value format_braces(Runtime& runtime, const Text& text, const Arguments& arguments) {
  Text result = BraceFormatter(runtime, arguments).run(text, 0);
  result.markup = text.markup;
  return runtime.text(std::move(result));
}

}  // namespace dinfer::jinja
