#include "base/error.h"
#include "checkpoint/gguf.h"
#include "checkpoint/printable.h"

namespace dinfer {

GgufMetadata GgufMetadata::read(const std::filesystem::path& path) {
  return read_gguf_header(File(path)).metadata;
}

const GgufMetadata::Value* GgufMetadata::find(std::string_view key) const {
  const auto at = values_.find(key);
  return at == values_.end() ? nullptr : &at->second;
}

bool GgufMetadata::is_array(std::string_view key) const {
  const Value* value = find(key);
  return value && (std::holds_alternative<std::vector<int64_t>>(*value) ||
                   std::holds_alternative<std::vector<double>>(*value) ||
                   std::holds_alternative<std::vector<std::string>>(*value));
}

void GgufMetadata::fail_missing(std::string_view key) const {
  fail(ExitCode::model_files, "{}: the metadata has no key {}", path_.string(), printable(key));
}

void GgufMetadata::fail_type(std::string_view key, std::string_view wanted) const {
  fail(ExitCode::model_files, "{}: the value of metadata key {} is not {}", path_.string(),
       printable(key), wanted);
}

template <class T>
const T* GgufMetadata::find_as(std::string_view key, std::string_view type) const {
  const Value* value = find(key);
  if (!value) return nullptr;
  if (const T* typed = std::get_if<T>(value)) return typed;
  fail_type(key, type);
}

const std::string* GgufMetadata::find_string(std::string_view key) const {
  return find_as<std::string>(key, "a string");
}

std::optional<int64_t> GgufMetadata::find_int(std::string_view key) const {
  const int64_t* value = find_as<int64_t>(key, "an integer");
  return value ? std::optional(*value) : std::nullopt;
}

std::optional<double> GgufMetadata::find_float(std::string_view key) const {
  const Value* value = find(key);
  if (!value) return std::nullopt;
  if (const int64_t* integer = std::get_if<int64_t>(value)) return static_cast<double>(*integer);
  if (const double* number = std::get_if<double>(value)) return *number;
  fail_type(key, "a number");
}

std::optional<bool> GgufMetadata::find_bool(std::string_view key) const {
  const bool* value = find_as<bool>(key, "a boolean");
  return value ? std::optional(*value) : std::nullopt;
}

const std::vector<std::string>* GgufMetadata::find_strings(std::string_view key) const {
  return find_as<std::vector<std::string>>(key, "an array of strings");
}

const std::vector<int64_t>* GgufMetadata::find_ints(std::string_view key) const {
  return find_as<std::vector<int64_t>>(key, "an array of integers");
}

const std::vector<double>* GgufMetadata::find_floats(std::string_view key) const {
  return find_as<std::vector<double>>(key, "an array of floats");
}

const std::string& GgufMetadata::get_string(std::string_view key) const {
  if (const auto* value = find_string(key)) return *value;
  fail_missing(key);
}

int64_t GgufMetadata::get_int(std::string_view key) const {
  if (const auto value = find_int(key)) return *value;
  fail_missing(key);
}

const std::vector<std::string>& GgufMetadata::get_strings(std::string_view key) const {
  if (const auto* value = find_strings(key)) return *value;
  fail_missing(key);
}

const std::vector<int64_t>& GgufMetadata::get_ints(std::string_view key) const {
  if (const auto* value = find_ints(key)) return *value;
  fail_missing(key);
}

const std::vector<double>& GgufMetadata::get_floats(std::string_view key) const {
  if (const auto* value = find_floats(key)) return *value;
  fail_missing(key);
}

}  // namespace dinfer
