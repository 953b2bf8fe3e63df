#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/json.h"

namespace dinfer {

// A value inside a JSON file, together with the words that say where it is; every mistake is an
// Error(model_files) that begins with them. The JSON must outlive it.
class JsonPart {
 public:
  JsonPart(const Json& value, std::string where) : value_(&value), where_(std::move(where)) {}

  const Json& value() const { return *value_; }
  const std::string& where() const { return where_; }
  [[noreturn]] void refuse(std::string_view why) const {
    fail(ExitCode::model_files, "{}: {}", where_, why);
  }
  // Where a file wants one of several kinds of `what`, none of them in the list `supported`.
  [[noreturn]] void refuse_kind(std::string_view what, std::string_view kind,
                                std::string_view supported) const {
    refuse(fmt::format("the {} \"{}\" is not supported: {} are", what, kind, supported));
  }

  std::optional<JsonPart> find(const char* key) const;  // empty: absent or null
  JsonPart get(const char* key) const;
  std::vector<JsonPart> items() const;  // of an array

  std::string as_string() const;
  int32_t as_id() const;  // of a token: 0 up to kMaxTokenId

  std::string string(const char* key) const { return get(key).as_string(); }
  std::string string_or(const char* key, std::string_view otherwise) const;
  bool flag_or(const char* key, bool otherwise) const;

  static constexpr int32_t kMaxTokenId = 16'000'000;

 private:
  const Json* value_;
  std::string where_;
};

}  // namespace dinfer
