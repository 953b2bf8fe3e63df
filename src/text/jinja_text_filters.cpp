// Filters that make texts and numbers.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/jinja_attributes.h"
#include "text/jinja_case.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"
#include "text/jinja_split.h"

namespace dinfer::jinja {
namespace {

// Value with the type str that keeps markup: markupsafe.soft_str.
Value soft(Runtime& runtime, const Value& value) {
  return value.is_string() ? value : to_text(runtime, value);
}

void require_string(const Value& value) {
  require_defined(value);
  if (!value.is_string()) {
    throw TemplateError("a str is needed here, not " + std::string(type_name(value)));
  }
}

Value absolute(Runtime&, const Value& self, const Bound&) {
  require_defined(self);
  if (self.is(Kind::big)) return self;
  if (!self.is_number()) {
    throw TemplateError("bad operand type for abs(): '" + std::string(type_name(self)) + "'");
  }
  if (self.is(Kind::real)) return Value(std::fabs(self.real()));
  return self.integer() < 0 ? negate(self) : Value(self.integer());
}

template <Casing casing>
Value case_filter(Runtime& runtime, const Value& self, const Bound&) {
  return change_case(runtime, soft(runtime, self).text(), casing);
}

Value center(Runtime& runtime, const Value& self, const Bound& arguments) {
  return pad(runtime, soft(runtime, self).text(), arguments.integer(0, 80), " ", '^');
}

Value escape_filter(Runtime& runtime, const Value& self, const Bound&) {
  return escape(runtime, self);
}

Value forceescape(Runtime& runtime, const Value& self, const Bound&) {
  return escape(runtime, to_text(runtime, self));
}

Value safe(Runtime& runtime, const Value& self, const Bound&) {
  Text text = to_text(runtime, self).text();
  text.markup = true;
  return runtime.text(std::move(text));
}

Value string(Runtime& runtime, const Value& self, const Bound&) { return soft(runtime, self); }

Value trim(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Native& method = *find_string_method("strip");
  return method.function(runtime, soft(runtime, self), arguments);
}

Value replace_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  return replace(runtime, to_text(runtime, self), to_text(runtime, arguments.value(0)),
                 to_text(runtime, arguments.value(1)), arguments.integer(2, -1));
}

Value format_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (!arguments.all.named.empty() && !arguments.all.positional.empty()) {
    throw TemplateError("can't handle positional and keyword arguments at the same time");
  }
  if (arguments.all.named.empty()) {
    return format_percent(runtime, soft(runtime, self), runtime.tuple(arguments.all.positional));
  }
  Dict* named = runtime.dict();
  for (const auto& [name, value] : arguments.all.named) {
    runtime.set(*named, runtime.text(name), value);
  }
  return format_percent(runtime, soft(runtime, self), Value(named));
}

Value indent(Runtime& runtime, const Value& self, const Bound& arguments) {
  require_string(self);
  TextBuilder margin = runtime.builder();
  const Value width = arguments.value(0, Value(int64_t{4}));
  if (width.is_string()) {
    margin.add(width.text());
  } else {
    margin.fill(static_cast<size_t>(std::max<int64_t>(to_integer(width, "indent's width"), 0)),
                " ");
  }
  const Text indention = margin.take();
  const bool first = arguments.flag(1), blank = arguments.flag(2);
  TextBuilder ended = runtime.builder();
  ended.add(self.text());
  ended.add("\n");
  const std::vector<Value> lines = split_lines(runtime, ended.take(), false);
  TextBuilder out = runtime.builder();
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out.add("\n");
    if (i == 0 ? first : blank || !lines[i].view().empty()) out.add(indention);
    out.add(lines[i].text());
  }
  Text result = out.take();
  result.markup = self.text().markup;
  return runtime.text(std::move(result));
}

Value truncate(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value end = arguments.value(2, runtime.text("..."));
  require_string(end);
  const int64_t limit = arguments.integer(0, 255), leeway = arguments.integer(3, 5);
  const auto end_size = static_cast<int64_t>(count_characters(end.view()));
  if (limit < end_size || leeway < 0) throw TemplateError("truncate: the length is too small");
  if (self.is_string()) runtime.charge_bytes(self.view().size());
  const auto size = length(self);
  if (size && (*size <= limit || *size - limit <= leeway)) return self;  // whatever it is
  require_string(self);
  const Text& text = self.text();
  size_t keep = offset_of_character(text.bytes, static_cast<size_t>(limit - end_size));
  if (!arguments.flag(1)) {
    const size_t space = keep == 0 ? std::string::npos : text.bytes.rfind(' ', keep - 1);
    if (space != std::string::npos) keep = space;
  }
  TextBuilder out = runtime.builder();
  out.add(text, 0, keep);
  out.add(end.text());
  return runtime.text(out);
}

Value wordcount(Runtime& runtime, const Value& self, const Bound&) {
  const Value text = soft(runtime, self);
  runtime.charge_bytes(8 * text.view().size());
  int64_t words = 0;
  bool in_word = false;
  for (size_t at = 0; at < text.view().size();) {
    const size_t size = character_at(text.view(), at).size;
    const std::string_view character = text.view().substr(at, size);
    const bool part = character == "_" || all_characters(character, CharacterTest::alphanumeric);
    words += part && !in_word;
    in_word = part;
    at += size;
  }
  return Value(words);
}

void quote_url(Runtime& runtime, TextBuilder& out, const Text& text, bool query) {
  runtime.charge_bytes(16 * text.bytes.size());
  size_t at = 0;
  for (const char c : text.bytes) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (byte < 0x80 && std::isalnum(byte) != 0) || c == '_' || c == '.' ||
                       c == '-' || c == '~' || (c == '/' && !query);
    if (plain) {
      out.add(text, at, at + 1);
    } else {
      out.add(query && c == ' ' ? "+" : fmt::format("%{:02X}", byte), text.any_data());
    }
    ++at;
  }
}

Value urlencode(Runtime& runtime, const Value& self, const Bound&) {
  TextBuilder out = runtime.builder();
  if (self.is_string() || !iterable(self)) {
    quote_url(runtime, out, to_text(runtime, self).text(), false);
    return runtime.text(out);
  }
  bool first = true;
  for (const Value& item : elements(runtime, self)) {
    if (!first) out.add("&");
    first = false;
    const std::vector<Value> pair = self.is(Kind::dict)
                                        ? std::vector<Value>{item, *self.dict().find(item)}
                                        : elements(runtime, item);
    if (pair.size() != 2) throw TemplateError("urlencode takes pairs");
    quote_url(runtime, out, to_text(runtime, pair[0]).text(), true);
    out.add("=");
    quote_url(runtime, out, to_text(runtime, pair[1]).text(), true);
  }
  return runtime.text(out);
}

Value tojson(Runtime& runtime, const Value& self, const Bound& arguments) {
  JsonStyle style;
  style.ensure_ascii = arguments.flag(0);
  if (arguments.has(1)) {
    const Value width = arguments.value(1);
    style.pretty = true;
    style.item_separator.assign(1, ',');
    if (width.is_string()) {
      style.indent = width.view();
    } else {
      constexpr int64_t kMaxIndent = 1000;
      const int64_t spaces = to_integer(width, "tojson's indent");
      if (spaces > kMaxIndent) throw TemplateError("tojson: too large an indent");
      style.indent.assign(static_cast<size_t>(std::max<int64_t>(spaces, 0)), ' ');
    }
  }
  if (arguments.has(2)) {
    const std::vector<Value> separators = elements(runtime, arguments.value(2));
    if (separators.size() != 2) throw TemplateError("tojson takes two separators");
    for (const Value& separator : separators) require_string(separator);
    style.item_separator = separators[0].view();
    style.key_separator = separators[1].view();
  }
  style.sort_keys = arguments.flag(3);
  return to_json(runtime, self, style);
}

// Python's int(text, base); none where it raises ValueError. Underscores may stand between digits.
std::optional<int64_t> parse_integer(std::string_view text, int64_t base) {
  const TextSpan rest = strip(text, nullptr, true, true);
  std::string digits(text.substr(rest.begin, rest.end - rest.begin));
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const auto prefix = [&](char letter, int64_t of) {
    if (digits.size() < 2 || digits[0] != '0' || (digits[1] | 0x20) != letter) return;
    if (base != of && base != 0) return;
    digits.erase(0, 2);
    if (digits.starts_with('_')) digits.erase(0, 1);
    base = of;
  };
  prefix('x', 16);
  prefix('o', 8);
  prefix('b', 2);
  if (base == 0) base = 10;
  if (base < 2 || base > 36 || digits.empty() || digits.front() == '_' || digits.back() == '_' ||
      digits.find("__") != std::string::npos) {
    return std::nullopt;
  }
  std::erase(digits, '_');
  if (digits.starts_with('-') || digits.starts_with('+')) return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, static_cast<int>(base));
  if (error == std::errc::result_out_of_range) throw TemplateError("integer overflow");
  if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
  return value;
}

// Python's float(text); none where it raises ValueError.
std::optional<double> parse_real(std::string_view text) {
  const TextSpan rest = strip(text, nullptr, true, true);
  std::string digits(text.substr(rest.begin, rest.end - rest.begin));
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  if (digits.empty() || digits.front() == '_' || digits.back() == '_' || digits.front() == '-' ||
      digits.front() == '+' || digits.find("__") != std::string::npos) {
    return std::nullopt;
  }
  std::erase(digits, '_');
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  if (end != digits.data() + digits.size() || digits.find('(') != std::string::npos) {
    return std::nullopt;
  }
  if (error == std::errc::result_out_of_range) {
    value = std::strtod(digits.c_str(), nullptr);  // infinity or 0, as Python has it
  } else if (error != std::errc()) {
    return std::nullopt;
  }
  return negative ? -value : value;
}

std::optional<int64_t> truncated(double value) {
  if (std::isnan(value) || std::isinf(value)) return std::nullopt;
  if (std::fabs(value) >= 9223372036854775808.0) throw TemplateError("integer overflow");
  return static_cast<int64_t>(value);
}

Value int_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  require_defined(self);
  std::optional<int64_t> result;
  if (self.is(Kind::big)) return self;
  if (self.is_string()) {
    runtime.charge_bytes(self.view().size());
    result = parse_integer(self.view(), arguments.integer(1, 10));
    if (!result) {
      if (const auto real = parse_real(self.view())) result = truncated(*real);
    }
  } else if (self.is(Kind::real)) {
    result = truncated(self.real());
    if (!result && std::isinf(self.real()))
      throw TemplateError("cannot convert float infinity to integer");
  } else if (self.is_integral()) {
    result = self.integer();
  }
  return result ? Value(*result) : arguments.value(0, Value(int64_t{0}));
}

Value float_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  require_defined(self);
  if (self.is_number()) return Value(to_real(self));
  if (self.is_string()) {
    runtime.charge_bytes(self.view().size());
    if (const auto real = parse_real(self.view())) return Value(*real);
  }
  return arguments.value(0, Value(0.0));
}

// Python's round: to even, on the exact decimal value.
double rounded(double value, int64_t precision) {
  if (!std::isfinite(value) || precision > 330) return value;
  if (precision < -308) return std::copysign(0.0, value);
  if (precision < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(value / scale) * scale;
  }
  return std::strtod(fixed_digits(value, static_cast<int>(precision)).c_str(), nullptr);
}

Value round_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  const int64_t precision = arguments.integer(0, 0);
  const std::string_view method =
      arguments.given[1] == nullptr ? "common" : std::string_view(arguments.text(1).bytes);
  require_defined(self);
  if (method == "common") {
    if (self.is_integral() && precision >= 0) return Value(self.integer());
    if (self.is_integral()) {
      return Value(*truncated(rounded(static_cast<double>(self.integer()), precision)));
    }
    return Value(rounded(to_real(self), precision));
  }
  if (method != "ceil" && method != "floor") {
    throw TemplateError("method must be common, ceil or floor");
  }
  const Value scale =
      arithmetic(runtime, ArithmeticOp::power, Value(int64_t{10}), Value(precision));
  const double scaled = to_real(arithmetic(runtime, ArithmeticOp::multiply, self, scale));
  const Value whole(method == "ceil" ? std::ceil(scaled) : std::floor(scaled));
  return arithmetic(runtime, ArithmeticOp::divide, whole, scale);
}

constexpr Native kFilters[] = {
    {"abs", "", 0, absolute},
    {"capitalize", "", 0, case_filter<Casing::capitalize>},
    {"center", "width", 0, center},
    {"e", "", 0, escape_filter},
    {"escape", "", 0, escape_filter},
    {"float", "default", 0, float_filter},
    {"forceescape", "", 0, forceescape},
    {"format", "*", 0, format_filter},
    {"indent", "width first blank", 0, indent},
    {"int", "default base", 0, int_filter},
    {"lower", "", 0, case_filter<Casing::lower>},
    {"replace", "old new count", 2, replace_filter},
    {"round", "precision method", 0, round_filter},
    {"safe", "", 0, safe},
    {"string", "", 0, string},
    {"title", "", 0, case_filter<Casing::words>},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, tojson},
    {"trim", "chars", 0, trim},
    {"truncate", "length killwords end leeway", 0, truncate},
    {"upper", "", 0, case_filter<Casing::upper>},
    {"urlencode", "", 0, urlencode},
    {"wordcount", "", 0, wordcount},
};

}  // namespace

const Native* find_text_filter(std::string_view name) { return find_native(kFilters, name); }

}  // namespace dinfer::jinja
