#include "text/jinja_format_spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

constexpr int kMaxPrecision = 1000;

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

}  // namespace

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

void add_character(TextBuilder& out, const Spec& spec, int64_t code, char align) {
  if (code < 0 || code > 0x10FFFF) throw TemplateError("%c arg not in range(0x110000)");
  add_padded(out, spec, Text{encode_character(static_cast<char32_t>(code)), {}, false}, 0, align);
}

}  // namespace dinfer::jinja
