#include "text/jinja_print.h"

#include <fmt/format.h>
#include <utf8proc.h>

#include <charconv>
#include <cmath>

#include "text/jinja_operations.h"

namespace dinfer::jinja {
namespace {

bool printable(char32_t code) {
  if (code < 0x7F) return code >= 0x20;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
      return false;
    default:
      return true;
  }
}

void add_repr(Runtime& runtime, TextBuilder& out, const Value& value);

void add_items(Runtime& runtime, TextBuilder& out, const std::vector<Value>& items) {
  bool first = true;
  for (const Value& item : items) {
    if (!first) out.add(", ");
    first = false;
    add_repr(runtime, out, item);
  }
}

void add_sequence(Runtime& runtime, TextBuilder& out, const Sequence& sequence) {
  switch (sequence.kind) {
    case SequenceKind::list:
      out.add("[");
      add_items(runtime, out, sequence.items);
      out.add("]");
      return;
    case SequenceKind::tuple:
      out.add("(");
      add_items(runtime, out, sequence.items);
      out.add(sequence.items.size() == 1 ? ",)" : ")");
      return;
    case SequenceKind::range:
      out.add(sequence.step == 1
                  ? fmt::format("range({}, {})", sequence.start, sequence.stop)
                  : fmt::format("range({}, {}, {})", sequence.start, sequence.stop, sequence.step));
      return;
    case SequenceKind::iterator:
      out.add("<generator object>");
      return;
    default:
      out.add(type_name(Value(const_cast<Sequence*>(&sequence))));
      out.add("([");
      add_items(runtime, out, sequence.items);
      out.add("])");
  }
}

void add_dict(Runtime& runtime, TextBuilder& out, const Dict& dict) {
  out.add("{");
  bool first = true;
  for (const auto& [key, value] : dict.entries) {
    if (!first) out.add(", ");
    first = false;
    add_repr(runtime, out, key);
    out.add(": ");
    add_repr(runtime, out, value);
  }
  out.add("}");
}

void add_scalar(TextBuilder& out, const Value& value) {
  switch (value.kind()) {
    case Kind::none:
      return out.add("None");
    case Kind::boolean:
      return out.add(value.boolean() ? "True" : "False");
    case Kind::integer:
      return out.add(std::to_string(value.integer()));
    case Kind::big:
      return out.add(std::to_string(value.big()));
    case Kind::real:
      return out.add(repr_of_real(value.real()));
    default:
      return out.add(fmt::format("<{}>", type_name(value)));
  }
}

void add_repr(Runtime& runtime, TextBuilder& out, const Value& value) {
  const Runtime::Nesting nesting(runtime);
  runtime.charge(1);
  switch (value.kind()) {
    case Kind::undefined:
      return out.add("Undefined");
    case Kind::string: {
      runtime.charge_bytes(4 * value.view().size());
      const std::string quoted = repr_of_string(value.view());
      return out.add(value.text().markup ? "Markup(" + quoted + ")" : quoted,
                     value.text().any_data());
    }
    case Kind::sequence:
      return add_sequence(runtime, out, value.sequence());
    case Kind::dict:
      return add_dict(runtime, out, value.dict());
    default:
      return add_scalar(out, value);
  }
}

}  // namespace

std::string repr_of_real(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char digits[40];
  const auto end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::scientific).ptr;
  const std::string_view shortest(digits, static_cast<size_t>(end - digits));
  const int exponent = std::stoi(std::string(shortest.substr(shortest.find('e') + 1)));
  if (exponent < -4 || exponent >= 16) return std::string(shortest);
  const auto fixed_end =
      std::to_chars(digits, digits + sizeof digits, value, std::chars_format::fixed).ptr;
  std::string text(digits, fixed_end);
  if (text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string repr_of_string(std::string_view bytes) {
  const bool single = bytes.find('\'') == bytes.npos || bytes.find('"') != bytes.npos;
  const char quote = single ? '\'' : '"';
  std::string text(1, quote);
  for (size_t at = 0; at < bytes.size();) {
    const Character c = character_at(bytes, at);
    if (c.code == static_cast<char32_t>(quote) || c.code == '\\') {
      text += '\\';
      text += static_cast<char>(c.code);
    } else if (c.code == '\n' || c.code == '\r' || c.code == '\t') {
      text += c.code == '\n' ? "\\n" : c.code == '\r' ? "\\r" : "\\t";
    } else if (printable(c.code)) {
      text += bytes.substr(at, c.size);
    } else {
      const auto code = static_cast<uint32_t>(c.code);
      text += code < 0x100     ? fmt::format("\\x{:02x}", code)
              : code < 0x10000 ? fmt::format("\\u{:04x}", code)
                               : fmt::format("\\U{:08x}", code);
    }
    at += c.size;
  }
  return text + quote;
}

std::string fixed_digits(double value, int precision) {
  return fmt::format("{:.{}f}", value, precision);
}

void print(Runtime& runtime, TextBuilder& out, const Value& value) {
  if (value.is_string()) {
    runtime.charge_bytes(value.view().size());
    out.add(value.text());
  } else if (!value.is_undefined()) {
    add_repr(runtime, out, value);
  }
}

Value to_text(Runtime& runtime, const Value& value) {
  if (value.is_string() && !value.text().markup) return value;
  TextBuilder out = runtime.builder();
  print(runtime, out, value);
  return runtime.text(out);
}

Value repr(Runtime& runtime, const Value& value) {
  TextBuilder out = runtime.builder();
  add_repr(runtime, out, value);
  return runtime.text(out);
}

}  // namespace dinfer::jinja
