// Python's two ways of formatting: text % values and text.format(values).
// https://docs.python.org/3/library/string.html#format-specification-mini-language and
// https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_attributes.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

constexpr int kMaxPrecision = 1000;

// How one value is to be written; both ways of formatting fill it in.
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

bool digit(char c) { return c >= '0' && c <= '9'; }

size_t read_number(std::string_view text, size_t& at) {
  size_t number = 0;
  for (; at < text.size() && digit(text[at]); ++at) {
    number = number * 10 + static_cast<size_t>(text[at] - '0');
    if (number > 100'000'000) throw TemplateError("too large a number in a format");
  }
  return number;
}

int checked_precision(size_t precision) {
  if (precision > kMaxPrecision) throw TemplateError("too large a precision in a format");
  return static_cast<int>(precision);
}

// Adds `body`, which starts with `prefix` bytes of sign or 0x, padded to the width.
void add_padded(TextBuilder& out, const Spec& spec, const Text& body, size_t prefix, char align) {
  if (spec.align != 0) align = spec.align;
  const size_t length = count_characters(body.bytes);
  const size_t padding = spec.width > length ? spec.width - length : 0;
  const size_t before = align == '<' ? 0 : align == '^' ? padding / 2 : padding;
  const size_t lead = align == '=' ? prefix : 0;
  out.add(body, 0, lead);
  out.fill(before, spec.fill);
  out.add(body, lead, body.bytes.size());
  out.fill(padding - before, spec.fill);
}

std::string sign_of(const Spec& spec, bool negative) {
  if (negative) return "-";
  return spec.sign == '-' ? "" : std::string(1, spec.sign);
}

void group_digits(std::string& digits, char separator, size_t size) {
  size_t end = digits.find_first_not_of("0123456789abcdefABCDEF");
  if (end == std::string::npos) end = digits.size();
  for (; end > size; end -= size) digits.insert(end - size, 1, separator);
}

std::string integer_digits(uint64_t value, char type, bool alternate, std::string& prefix) {
  switch (type) {
    case 'x':
      if (alternate) prefix += "0x";
      return fmt::format("{:x}", value);
    case 'X':
      if (alternate) prefix += "0X";
      return fmt::format("{:X}", value);
    case 'o':
      if (alternate) prefix += "0o";
      return fmt::format("{:o}", value);
    case 'b':
      if (alternate) prefix += "0b";
      return fmt::format("{:b}", value);
    default:
      return std::to_string(value);
  }
}

void add_integer(TextBuilder& out, const Spec& spec, const Value& value) {
  const bool negative = value.is_integral() && value.integer() < 0;
  const uint64_t size = value.is(Kind::big) ? value.big()
                        : negative          ? 0 - static_cast<uint64_t>(value.integer())
                                            : static_cast<uint64_t>(value.integer());
  std::string prefix = sign_of(spec, negative);
  std::string digits = integer_digits(size, spec.type, spec.alternate, prefix);
  if (spec.precision > static_cast<int>(digits.size())) {
    digits.insert(0, static_cast<size_t>(spec.precision) - digits.size(), '0');
  }
  const bool decimal = spec.type == 0 || spec.type == 'd' || spec.type == 'n';
  if (spec.grouping != 0) group_digits(digits, spec.grouping, decimal ? 3 : 4);
  add_padded(out, spec, Text{prefix + digits, {}, false}, prefix.size(), '>');
}

std::string real_digits(double value, const Spec& spec) {
  const int precision = spec.precision < 0 ? 6 : spec.precision;
  switch (spec.type) {
    case 'e':
      return fmt::format("{:.{}e}", value, precision);
    case 'E':
      return fmt::format("{:.{}E}", value, precision);
    case 'f':
      return fixed_digits(value, precision);
    case 'F':
      return fmt::format("{:.{}F}", value, precision);
    case 'g':
    case 'n':
      return fmt::format("{:.{}g}", value, std::max(precision, 1));
    case 'G':
      return fmt::format("{:.{}G}", value, std::max(precision, 1));
    case '%':
      return fixed_digits(value * 100, precision) + "%";
    default: {
      if (spec.precision < 0) return repr_of_real(value);
      std::string digits = fmt::format("{:.{}g}", value, std::max(precision, 1));
      if (digits.find_first_not_of("0123456789") == std::string::npos) digits += ".0";
      return digits;
    }
  }
}

void add_real(TextBuilder& out, const Spec& spec, double value) {
  const std::string prefix = sign_of(spec, std::signbit(value) && !std::isnan(value));
  std::string digits = real_digits(std::isnan(value) ? value : std::fabs(value), spec);
  if (spec.grouping != 0) group_digits(digits, spec.grouping, 3);
  add_padded(out, spec, Text{prefix + digits, {}, false}, prefix.size(), '>');
}

void add_string(Runtime& runtime, TextBuilder& out, const Spec& spec, const Text& text,
                char align) {
  size_t end = text.bytes.size();
  if (spec.precision >= 0) {
    end = offset_of_character(text.bytes, static_cast<size_t>(spec.precision));
  }
  runtime.charge_bytes(end + spec.width);
  TextBuilder part = runtime.builder();
  part.add(text, 0, end);
  add_padded(out, spec, part.take(), 0, align);
}

// ---- text % values

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Text& format, const Value& value)
      : runtime_(runtime), format_(format), out_(runtime.builder()), value_(value) {
    if (value.is(Kind::sequence) && value.sequence().kind == SequenceKind::tuple) {
      arguments_ = value.sequence().items;
      is_tuple_ = true;
    } else {
      arguments_ = {value};
    }
  }

  Value run() {
    const std::string_view bytes = format_.bytes;
    while (at_ < bytes.size()) {
      const size_t percent = std::min(bytes.find('%', at_), bytes.size());
      out_.add(format_, at_, percent);
      at_ = percent + 1;
      if (percent < bytes.size()) conversion();
    }
    const bool mapping = value_.is(Kind::dict) || (value_.is(Kind::sequence) && !is_tuple_);
    if (next_ < arguments_.size() && !mapping) {
      throw TemplateError("not all arguments converted during string formatting");
    }
    Text result = out_.take();
    result.markup = format_.markup;
    return runtime_.text(std::move(result));
  }

 private:
  Value next_argument() {
    if (next_ >= arguments_.size()) throw TemplateError("not enough arguments for format string");
    return arguments_[next_++];
  }

  size_t star_or_number() {
    if (at_ < format_.bytes.size() && format_.bytes[at_] == '*') {
      ++at_;
      return static_cast<size_t>(
          std::clamp<int64_t>(to_integer(next_argument(), "* in a format"), 0, 100'000'000));
    }
    return read_number(format_.bytes, at_);
  }

  Value keyed_argument() {
    const size_t close = format_.bytes.find(')', at_);
    if (close == std::string::npos) throw TemplateError("incomplete format key");
    if (!value_.is(Kind::dict)) throw TemplateError("format requires a mapping");
    const std::string key = format_.bytes.substr(at_ + 1, close - at_ - 1);
    const Value* found = value_.dict().find(key);
    if (found == nullptr) throw TemplateError("format key not found: " + repr_of_string(key));
    at_ = close + 1;
    return *found;
  }

  void conversion() {
    runtime_.charge(1);
    const std::string& bytes = format_.bytes;
    Spec spec;
    std::optional<Value> argument;
    if (at_ < bytes.size() && bytes[at_] == '(') argument = keyed_argument();
    bool zero = false;
    for (; at_ < bytes.size(); ++at_) {
      const char flag = bytes[at_];
      if (flag == '-') {
        spec.align = '<';
      } else if (flag == '+' || (flag == ' ' && spec.sign == '-')) {
        spec.sign = flag;
      } else if (flag == '0') {
        zero = true;
      } else if (flag == '#') {
        spec.alternate = true;
      } else if (flag != ' ') {
        break;
      }
    }
    spec.width = star_or_number();
    if (at_ < bytes.size() && bytes[at_] == '.') {
      ++at_;
      spec.precision = checked_precision(star_or_number());
    }
    while (at_ < bytes.size() && (bytes[at_] == 'l' || bytes[at_] == 'h' || bytes[at_] == 'L')) {
      ++at_;
    }
    if (at_ >= bytes.size()) throw TemplateError("incomplete format");
    spec.type = bytes[at_++];
    if (spec.type == '%') return out_.add("%");
    convert(spec, zero, argument ? *argument : next_argument());
  }

  void convert(Spec& spec, bool zero, const Value& value) {
    if (std::string_view("srac").find(spec.type) == std::string_view::npos) {
      if (!value.is_number()) {
        require_defined(value);
        throw TemplateError(fmt::format("%{} format: a real number is required, not {}", spec.type,
                                        type_name(value)));
      }
      if (zero && spec.align == 0) spec.align = '=', spec.fill.assign(1, '0');
    }
    switch (spec.type) {
      case 's':
        return add_string(runtime_, out_, spec, text_argument(value), '>');
      case 'r':
      case 'a':
        return add_string(runtime_, out_, spec, repr(runtime_, value).text(), '>');
      case 'c':
        return add_character(spec, value);
      case 'd':
      case 'i':
      case 'u':
      case 'x':
      case 'X':
      case 'o':
        if (value.is(Kind::real)) {
          if (spec.type != 'd' && spec.type != 'i' && spec.type != 'u') {
            throw TemplateError("an integer is required, not float");
          }
          if (!(std::fabs(value.real()) < 9.2e18)) throw TemplateError("integer overflow");
          return add_integer(out_, spec, Value(static_cast<int64_t>(value.real())));
        }
        return add_integer(out_, spec, value);
      case 'e':
      case 'E':
      case 'f':
      case 'F':
      case 'g':
      case 'G':
        return add_real(out_, spec, to_real(value));
      default:
        throw TemplateError(fmt::format("unsupported format character '{}'", spec.type));
    }
  }

  const Text& text_argument(const Value& value) {
    return (format_.markup ? escape(runtime_, value) : to_text(runtime_, value)).text();
  }

  void add_character(const Spec& spec, const Value& value) {
    if (value.is_string() && count_characters(value.view()) == 1) {
      return add_string(runtime_, out_, spec, value.text(), '>');
    }
    const int64_t code = to_integer(value, "%c");
    if (code < 0 || code > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
    add_padded(out_, spec, Text{encode_character(static_cast<char32_t>(code)), {}, false}, 0, '>');
  }

  Runtime& runtime_;
  const Text& format_;
  TextBuilder out_;
  const Value value_;
  std::vector<Value> arguments_;
  bool is_tuple_ = false;
  size_t next_ = 0;
  size_t at_ = 0;
};

// ---- text.format(values)

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
        const int64_t code = to_integer(value, "a character code");
        if (code < 0 || code > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
        return add_padded(out, spec, Text{encode_character(static_cast<char32_t>(code)), {}, false},
                          0, '<');
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

Value format_percent(Runtime& runtime, const Value& text, const Value& value) {
  return PercentFormatter(runtime, text.text(), value).run();
}

Value format_braces(Runtime& runtime, const Text& text, const Arguments& arguments) {
  Text result = BraceFormatter(runtime, arguments).run(text, 0);
  result.markup = text.markup;
  return runtime.text(std::move(result));
}

}  // namespace dinfer::jinja
