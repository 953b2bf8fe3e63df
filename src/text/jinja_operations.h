#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "text/jinja_runtime.h"

// Python's operators and protocols on values. Errors are TemplateErrors.
namespace dinfer::jinja {

enum class ArithmeticOp : uint8_t { add, subtract, multiply, divide, floor_divide, modulo, power };
enum class CompareOp : uint8_t {
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  in,
  not_in
};

[[noreturn]] void raise_undefined(const Value& value);
void require_defined(const Value& value);  // raises the error of an undefined value

bool truthy(const Value& value);
bool equal(Runtime& runtime, const Value& a, const Value& b);
bool compare(Runtime& runtime, CompareOp op, const Value& a, const Value& b);
bool contains(Runtime& runtime, const Value& container, const Value& item);
Value arithmetic(Runtime& runtime, ArithmeticOp op, const Value& a, const Value& b);
Value negate(const Value& value);
Value unary_plus(const Value& value);

std::optional<int64_t> length(const Value& value);  // none: it has no len()
bool iterable(const Value& value);
// All items that iterating yields; uses up an iterator.
std::vector<Value> elements(Runtime& runtime, const Value& value);

// The index of Python's slice rules: bounds clamped to [0, size]; step never 0.
struct SliceBounds {
  int64_t start, stop, step;
};
SliceBounds slice_bounds(const Value& start, const Value& stop, const Value& step, int64_t size);
Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step);

int64_t to_integer(const Value& value, std::string_view what);  // bool or int only
double to_real(const Value& value);                             // any number

// HTML-escaped text of a value, as markup.
Value escape(Runtime& runtime, const Value& value);

}  // namespace dinfer::jinja
