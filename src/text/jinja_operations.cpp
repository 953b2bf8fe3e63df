#include "text/jinja_operations.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

[[noreturn]] void unsupported(std::string_view op, const Value& a, const Value& b) {
  throw TemplateError("unsupported operand type(s) for " + std::string(op) + ": '" +
                      std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

bool list_or_tuple(const Value& value) {
  return value.is(Kind::sequence) && (value.sequence().kind == SequenceKind::list ||
                                      value.sequence().kind == SequenceKind::tuple);
}

bool equal_sequences(Runtime& runtime, const Sequence& a, const Sequence& b) {
  if (&a == &b) return true;
  if (a.kind != b.kind || a.kind == SequenceKind::iterator || a.items.size() != b.items.size()) {
    return false;
  }
  for (size_t i = 0; i < a.items.size(); ++i) {
    if (!equal(runtime, a.items[i], b.items[i])) return false;
  }
  return true;
}

bool equal_dicts(Runtime& runtime, const Dict& a, const Dict& b) {
  if (a.entries.size() != b.entries.size()) return false;
  for (const auto& [key, value] : a.entries) {
    const Value* other = runtime.find(b, key);
    if (other == nullptr || !equal(runtime, value, *other)) return false;
  }
  return true;
}

bool equal_numbers(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.integer() == b.integer();
  const KeyLess less;
  if ((a.is(Kind::real) && std::isnan(a.real())) || (b.is(Kind::real) && std::isnan(b.real()))) {
    return false;
  }
  return !less(a, b) && !less(b, a);
}

// a < b.
bool less(Runtime& runtime, std::string_view op, const Value& a, const Value& b, bool or_equal) {
  const Runtime::Nesting nesting(runtime);
  runtime.charge(1);
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if ((a.is(Kind::real) && std::isnan(a.real())) || (b.is(Kind::real) && std::isnan(b.real()))) {
      return false;
    }
    return or_equal ? !KeyLess()(b, a) : KeyLess()(a, b);
  }
  if (a.is_string() && b.is_string()) {
    runtime.charge_bytes(std::min(a.view().size(), b.view().size()));
    return or_equal ? a.view() <= b.view() : a.view() < b.view();
  }
  if (list_or_tuple(a) && list_or_tuple(b) && a.sequence().kind == b.sequence().kind) {
    const auto &x = a.sequence().items, &y = b.sequence().items;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
      if (!equal(runtime, x[i], y[i])) return less(runtime, op, x[i], y[i], or_equal);
    }
    return or_equal ? x.size() <= y.size() : x.size() < y.size();
  }
  throw TemplateError("'" + std::string(op) + "' not supported between instances of '" +
                      std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "'");
}

[[noreturn]] void overflow() { throw TemplateError("integer overflow"); }

int64_t floor_divide(int64_t a, int64_t b) {
  if (b == 0) throw TemplateError("integer division or modulo by zero");
  if (a == std::numeric_limits<int64_t>::min() && b == -1) overflow();
  return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

int64_t modulo(int64_t a, int64_t b) {
  if (b == 0) throw TemplateError("integer division or modulo by zero");
  if (b == -1) return 0;
  const int64_t rest = a % b;
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

double modulo(double a, double b) {
  if (b == 0) throw TemplateError("float modulo by zero");
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  return rest == 0 ? std::copysign(0.0, b) : rest;
}

Value power(int64_t base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) throw TemplateError("0.0 cannot be raised to a negative power");
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  int64_t result = 1;
  while (exponent > 0) {
    if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) overflow();
    exponent >>= 1;
    if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) overflow();
  }
  return Value(result);
}

Value power(double base, double exponent) {
  if (base == 0 && exponent < 0) {
    throw TemplateError("0.0 cannot be raised to a negative power");
  }
  const double result = std::pow(base, exponent);
  if (std::isinf(result) && std::isfinite(base) && std::isfinite(exponent)) {
    throw TemplateError("float result too large");
  }
  if (std::isnan(result) && !std::isnan(base) && !std::isnan(exponent)) {
    throw TemplateError("complex numbers are not supported");
  }
  return Value(result);
}

Value integer_arithmetic(ArithmeticOp op, int64_t a, int64_t b) {
  int64_t result = 0;
  switch (op) {
    case ArithmeticOp::add:
      if (__builtin_add_overflow(a, b, &result)) overflow();
      return Value(result);
    case ArithmeticOp::subtract:
      if (__builtin_sub_overflow(a, b, &result)) overflow();
      return Value(result);
    case ArithmeticOp::multiply:
      if (__builtin_mul_overflow(a, b, &result)) overflow();
      return Value(result);
    case ArithmeticOp::divide:
      if (b == 0) throw TemplateError("division by zero");
      return Value(static_cast<double>(static_cast<long double>(a) / b));
    case ArithmeticOp::floor_divide:
      return Value(floor_divide(a, b));
    case ArithmeticOp::modulo:
      return Value(modulo(a, b));
    case ArithmeticOp::power:
      break;
  }
  return power(a, b);
}

Value real_arithmetic(ArithmeticOp op, double a, double b) {
  switch (op) {
    case ArithmeticOp::add:
      return Value(a + b);
    case ArithmeticOp::subtract:
      return Value(a - b);
    case ArithmeticOp::multiply:
      return Value(a * b);
    case ArithmeticOp::divide:
      if (b == 0) throw TemplateError("float division by zero");
      return Value(a / b);
    case ArithmeticOp::floor_divide:
      if (b == 0) throw TemplateError("float floor division by zero");
      return Value(std::floor((a - modulo(a, b)) / b + 0.5));
    case ArithmeticOp::modulo:
      return Value(modulo(a, b));
    case ArithmeticOp::power:
      break;
  }
  return power(a, b);
}

Value concatenate(Runtime& runtime, const Value& a, const Value& b) {
  const bool markup = a.text().markup || b.text().markup;
  const Value left = markup ? escape(runtime, a) : a, right = markup ? escape(runtime, b) : b;
  TextBuilder both = runtime.builder();
  both.add(left.text());
  both.add(right.text());
  Text result = both.take();
  result.markup = markup;
  return runtime.text(std::move(result));
}

Value add(Runtime& runtime, const Value& a, const Value& b) {
  if (a.is_string() && b.is_string()) return concatenate(runtime, a, b);
  if (list_or_tuple(a) && list_or_tuple(b) && a.sequence().kind == b.sequence().kind) {
    std::vector<Value> items = a.sequence().items;
    items.insert(items.end(), b.sequence().items.begin(), b.sequence().items.end());
    return runtime.sequence(a.sequence().kind, std::move(items));
  }
  unsupported("+", a, b);
}

Value repeat(Runtime& runtime, const Value& value, int64_t times) {
  const auto count = static_cast<size_t>(std::max<int64_t>(times, 0));
  if (value.is_string()) {
    TextBuilder repeated = runtime.builder();
    if (value.view().empty()) return value;
    for (size_t i = 0; i < count; ++i) repeated.add(value.text());
    Text result = repeated.take();
    result.markup = value.text().markup;
    return runtime.text(std::move(result));
  }
  const Sequence& sequence = value.sequence();
  std::vector<Value> items;
  for (size_t i = 0; i < count && !sequence.items.empty(); ++i) {
    runtime.charge(1 + sequence.items.size() / 4);
    items.insert(items.end(), sequence.items.begin(), sequence.items.end());
  }
  return runtime.sequence(sequence.kind, std::move(items));
}

}  // namespace

void raise_undefined(const Value& value) { throw TemplateError(value.undefined().message); }

void require_defined(const Value& value) {
  if (value.is_undefined()) raise_undefined(value);
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
    case Kind::none:
      return false;
    case Kind::boolean:
    case Kind::integer:
      return value.integer() != 0;
    case Kind::real:
      return value.real() != 0;
    case Kind::sequence:
      return value.sequence().kind == SequenceKind::iterator || !value.sequence().items.empty();
    case Kind::string:
      return !value.view().empty();
    case Kind::dict:
      return !value.dict().entries.empty();
    default:
      return true;
  }
}

bool equal(Runtime& runtime, const Value& a, const Value& b) {
  const Runtime::Nesting nesting(runtime);
  runtime.charge(1);
  if (a.is_number() && b.is_number()) return equal_numbers(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::string:
      if (a.view().size() != b.view().size()) return false;
      runtime.charge_bytes(a.view().size());
      return a.view() == b.view();
    case Kind::sequence:
      return equal_sequences(runtime, a.sequence(), b.sequence());
    case Kind::dict:
      return &a.dict() == &b.dict() || equal_dicts(runtime, a.dict(), b.dict());
    case Kind::object:
      return &a.object() == &b.object();
    default:
      return true;  // two undefined values, or None twice
  }
}

bool compare(Runtime& runtime, CompareOp op, const Value& a, const Value& b) {
  switch (op) {
    case CompareOp::equal:
      return equal(runtime, a, b);
    case CompareOp::not_equal:
      return !equal(runtime, a, b);
    case CompareOp::less:
      return less(runtime, "<", a, b, false);
    case CompareOp::less_equal:
      return less(runtime, "<=", a, b, true);
    case CompareOp::greater:
      return less(runtime, ">", b, a, false);
    case CompareOp::greater_equal:
      return less(runtime, ">=", b, a, true);
    case CompareOp::in:
      return contains(runtime, b, a);
    case CompareOp::not_in:
      break;
  }
  return !contains(runtime, b, a);
}

bool contains(Runtime& runtime, const Value& container, const Value& item) {
  if (container.is_string()) {
    if (!item.is_string()) {
      throw TemplateError("'in <string>' requires string as left operand, not " +
                          std::string(type_name(item)));
    }
    runtime.charge_bytes(2 * container.view().size());
    return find_first(container.view(), item.view()) != std::string_view::npos;
  }
  if (container.is(Kind::dict)) {
    return runtime.find(container.dict(), item) != nullptr;
  }
  if (!iterable(container)) {
    throw TemplateError("argument of type '" + std::string(type_name(container)) +
                        "' is not iterable");
  }
  for (const Value& element : elements(runtime, container)) {
    if (element.same(item) || equal(runtime, element, item)) return true;
  }
  return false;
}

Value arithmetic(Runtime& runtime, ArithmeticOp op, const Value& a, const Value& b) {
  static constexpr std::string_view kNames[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(op, a.integer(), b.integer());
  if (op == ArithmeticOp::modulo && a.is_string()) return format_percent(runtime, a, b);
  require_defined(a);
  require_defined(b);
  if (a.is_number() && b.is_number()) {
    if (!a.is(Kind::real) && !b.is(Kind::real)) overflow();
    return real_arithmetic(op, to_real(a), to_real(b));
  }
  if (op == ArithmeticOp::add) return add(runtime, a, b);
  if (op == ArithmeticOp::multiply) {
    if ((a.is_string() || list_or_tuple(a)) && b.is_integral()) {
      return repeat(runtime, a, b.integer());
    }
    if ((b.is_string() || list_or_tuple(b)) && a.is_integral()) {
      return repeat(runtime, b, a.integer());
    }
  }
  unsupported(kNames[static_cast<size_t>(op)], a, b);
}

Value negate(const Value& value) {
  require_defined(value);
  if (value.is_integral()) {
    int64_t result = 0;
    if (__builtin_sub_overflow(int64_t{0}, value.integer(), &result)) overflow();
    return Value(result);
  }
  if (value.is(Kind::real)) return Value(-value.real());
  throw TemplateError("bad operand type for unary -: '" + std::string(type_name(value)) + "'");
}

Value unary_plus(const Value& value) {
  require_defined(value);
  if (value.is_integral()) return Value(value.integer());
  if (value.is_number()) return value;
  throw TemplateError("bad operand type for unary +: '" + std::string(type_name(value)) + "'");
}

int64_t to_integer(const Value& value, std::string_view what) {
  require_defined(value);
  if (!value.is_integral()) {
    throw TemplateError(std::string(what) + " must be an integer, not '" +
                        std::string(type_name(value)) + "'");
  }
  return value.integer();
}

double to_real(const Value& value) {
  require_defined(value);
  if (value.is(Kind::real)) return value.real();
  if (value.is(Kind::big)) return static_cast<double>(value.big());
  if (value.is_integral()) return static_cast<double>(value.integer());
  throw TemplateError("must be real number, not " + std::string(type_name(value)));
}

Value escape(Runtime& runtime, const Value& value) {
  const Value string = to_text(runtime, value);
  if (value.is_string() && value.text().markup) return value;
  const Text& text = string.text();
  TextBuilder escaped = runtime.builder();
  size_t done = 0;
  for (size_t i = 0; i < text.bytes.size(); ++i) {
    std::string_view entity;
    switch (text.bytes[i]) {
      case '&':
        entity = "&amp;";
        break;
      case '<':
        entity = "&lt;";
        break;
      case '>':
        entity = "&gt;";
        break;
      case '\'':
        entity = "&#39;";
        break;
      case '"':
        entity = "&#34;";
        break;
      default:
        continue;
    }
    escaped.add(text, done, i);
    escaped.add(entity, text.any_data());
    done = i + 1;
  }
  escaped.add(text, done, text.bytes.size());
  Text result = escaped.take();
  result.markup = true;
  return runtime.text(std::move(result));
}

}  // namespace dinfer::jinja
