#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "checkpoint/printable.h"

namespace dinfer {

// Typed fields of a JSON object from a model's file. A field that is null counts as absent; one of
// another type, or out of range, is an Error(model_files) naming file, key and value.
class JsonFields {
 public:
  JsonFields(const Json& object, std::string where) : object_(object), where_(std::move(where)) {
    if (!object_.is_object()) fail(ExitCode::model_files, "{}: is no JSON object", where_);
  }

  const std::string& where() const { return where_; }

  // Also true of a null.
  bool contains(const char* key) const { return object_.contains(key); }

  // nullptr: absent.
  const Json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  std::optional<int64_t> integer(const char* key, int64_t least, int64_t most) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    return to_integer(*value, key, least, most);
  }

  int64_t required_integer(const char* key, int64_t least, int64_t most) const {
    const auto value = integer(key, least, most);
    if (!value) fail(ExitCode::model_files, "{}: has no {}", where_, printable(key));
    return *value;
  }

  // An integer, or a list of them; empty: absent.
  std::vector<int64_t> integers(const char* key, int64_t least, int64_t most) const {
    const Json* value = find(key);
    if (!value) return {};
    if (!value->is_array()) return {to_integer(*value, key, least, most)};
    std::vector<int64_t> out;
    for (const Json& element : *value) out.push_back(to_integer(element, key, least, most));
    return out;
  }

  // Finite numbers only.
  std::optional<double> number(const char* key, double least, double most) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    return to_number(*value, key, least, most);
  }

  std::vector<double> numbers(const char* key, double least, double most) const {
    const Json* value = find(key);
    if (!value) return {};
    if (!value->is_array()) fail_type(key, "a list of numbers");
    std::vector<double> out;
    for (const Json& element : *value) out.push_back(to_number(element, key, least, most));
    return out;
  }

  std::optional<bool> boolean(const char* key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_boolean()) fail_type(key, "a boolean");
    return value->get<bool>();
  }

  std::optional<std::string> string(const char* key) const {
    const Json* value = find(key);
    if (!value) return std::nullopt;
    if (!value->is_string()) fail_type(key, "a string");
    return value->get<std::string>();
  }

  std::vector<std::string> strings(const char* key) const {
    const Json* value = find(key);
    if (!value) return {};
    std::vector<std::string> out;
    for (const Json& element : *value) {
      if (!value->is_array() || !element.is_string()) fail_type(key, "a list of strings");
      out.push_back(element.get<std::string>());
    }
    return out;
  }

 private:
  int64_t to_integer(const Json& value, const char* key, int64_t least, int64_t most) const {
    // A value above 2^63-1 is unsigned and would wrap; it is above every `most` too.
    const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
    if (!value.is_number_integer()) fail_type(key, "an integer");
    const int64_t integer = huge ? INT64_MAX : value.get<int64_t>();
    if (huge || integer < least || integer > most) fail_range(key, value, least, most);
    return integer;
  }

  double to_number(const Json& value, const char* key, double least, double most) const {
    if (!value.is_number()) fail_type(key, "a number");
    const double number = value.get<double>();
    if (!(number >= least && number <= most)) fail_range(key, value, least, most);
    return number;
  }

  [[noreturn]] void fail_type(const char* key, const char* wanted) const {
    fail(ExitCode::model_files, "{}: {} is not {}", where_, printable(key), wanted);
  }

  template <class T>
  [[noreturn]] void fail_range(const char* key, const Json& value, T least, T most) const {
    fail(ExitCode::model_files, "{}: {} is {}; {} to {} is allowed", where_, printable(key),
         value.dump(), least, most);
  }

  const Json& object_;
  std::string where_;
};

}  // namespace dinfer
