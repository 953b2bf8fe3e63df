#pragma once

#include <cstdint>

#include "text/jinja_runtime.h"

// Cutting texts up and putting them together; shared by methods and filters.
namespace dinfer::jinja {

// `separator` None: at runs of white space. At most `most` cuts, -1: all.
std::vector<Value> split(Runtime& runtime, const Text& text, const Value& separator, int64_t most);
std::vector<Value> split_from_right(Runtime& runtime, const Text& text, const Value& separator,
                                    int64_t most);
std::vector<Value> split_lines(Runtime& runtime, const Text& text, bool keep_ends);

// All items as their str().
Value join(Runtime& runtime, const Text& separator, const std::vector<Value>& items);
Value replace(Runtime& runtime, const Value& text, const Value& old, const Value& with,
              int64_t most);
// `align`: < > or ^.
Value pad(Runtime& runtime, const Text& text, int64_t width, std::string_view fill, char align);

}  // namespace dinfer::jinja
