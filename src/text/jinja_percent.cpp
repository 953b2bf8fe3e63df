// text % values, https://docs.python.org/3/library/stdtypes.html#printf-style-string-formatting
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/jinja_format_spec.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

class PercentFormatter {
 public:
  PercentFormatter(Runtime& runtime, const Text& format, const Value& value)
      : runtime_(runtime), format_(format), out_(runtime.builder()), value_(value) {
    if (value.is(Kind::sequence) && value.sequence().kind == SequenceKind::tuple) {
      arguments_ = value.sequence().items;
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
    // What has items may be left over: it could be meant for %(name)s.
    const bool mapping =
        value_.is(Kind::dict) || value_.is_undefined() ||
        (value_.is(Kind::sequence) && (value_.sequence().kind == SequenceKind::list ||
                                       value_.sequence().kind == SequenceKind::range));
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
        return character(spec, value);
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

  void character(const Spec& spec, const Value& value) {
    if (value.is_string() && count_characters(value.view()) == 1) {
      return add_string(runtime_, out_, spec, value.text(), '>');
    }
    add_character(out_, spec, to_integer(value, "%c"), '>');
  }

  Runtime& runtime_;
  const Text& format_;
  TextBuilder out_;
  const Value value_;
  std::vector<Value> arguments_;
  size_t next_ = 0;
  size_t at_ = 0;
};

}  // namespace

Value format_percent(Runtime& runtime, const Value& text, const Value& value) {
  return PercentFormatter(runtime, text.text(), value).run();
}

}  // namespace dinfer::jinja
