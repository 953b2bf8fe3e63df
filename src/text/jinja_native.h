#pragma once

#include <array>
#include <cstdint>

#include "text/jinja_runtime.h"

// Methods, filters, tests and global functions: all are C++ functions of a value and arguments.
namespace dinfer::jinja {

// Arguments in the order of the parameters.
struct Bound {
  static constexpr size_t kMax = 6;
  const Arguments& all;
  std::array<const Value*, kMax> given{};  // null: left out

  bool has(size_t i) const { return given[i] != nullptr && !given[i]->is_none(); }
  Value value(size_t i, Value otherwise = {}) const { return given[i] ? *given[i] : otherwise; }
  bool flag(size_t i) const;
  int64_t integer(size_t i, int64_t otherwise) const;  // None counts as left out
  const Text& text(size_t i) const;                    // must be there, and a string
};

struct Native {
  std::string_view name;
  std::string_view
      parameters;  // names, separated by spaces; "*": takes what comes, from Bound::all
  size_t required;
  // `self`: what the method, filter or test is applied to; None for global functions.
  Value (*function)(Runtime& runtime, const Value& self, const Bound& arguments);
};

Value invoke(Runtime& runtime, const Native& native, const Value& self, const Arguments& arguments);

// A method with its object, or a global function.
class NativeCallable final : public Object {
 public:
  NativeCallable(const Native& native, Value self) : native_(native), self_(self) {}
  std::string_view type_name() const override { return "builtin_function_or_method"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments& arguments) override {
    return invoke(runtime, native_, self_, arguments);
  }

 private:
  const Native& native_;
  const Value self_;
};

template <size_t n>
const Native* find_native(const Native (&table)[n], std::string_view name) {
  for (const Native& native : table) {
    if (native.name == name) return &native;
  }
  return nullptr;
}

// Null where there is none of that name.
const Native* find_filter(std::string_view name);
const Native* find_test(std::string_view name);
const Native* find_text_filter(std::string_view name);
const Native* find_sequence_filter(std::string_view name);
const Native* find_string_method(std::string_view name);
const Native* find_container_method(const Value& container, std::string_view name);

// Names of the global functions, and the function of a name.
std::span<const Native> global_functions();

}  // namespace dinfer::jinja
