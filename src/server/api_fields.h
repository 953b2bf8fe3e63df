#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dinfer {

// Reads the fields of a request's JSON object. null means "not given". A value of the wrong type or
// out of range is a 400 that names the field and what it must be. What nobody has read is left
// over: unread().
class ApiFields {
 public:
  // 400 where it is no object. `where` is its path for messages, empty for the body itself.
  ApiFields(const OrderedJson& object, std::string where);

  // nullptr where the field is missing or null.
  const OrderedJson* find(std::string_view name);

  std::optional<double> number(std::string_view name, double low, double high);
  std::optional<int64_t> integer(std::string_view name, int64_t low, int64_t high);
  std::optional<bool> boolean(std::string_view name);
  std::optional<std::string> text(std::string_view name, size_t longest);
  // A string, or an array of strings, as a list.
  std::vector<std::string> texts(std::string_view name, size_t most, size_t longest);
  // An array of token ids in [0, vocab).
  std::vector<int32_t> tokens(std::string_view name, size_t most, int64_t vocab);

  // Accepted whatever it holds, and without effect.
  void pass_over(std::string_view name) { read_.insert(std::string(name)); }
  // A 400 where the field is given (and not one of `harmless`).
  void refuse(std::string_view name, std::string_view why,
              const std::vector<OrderedJson>& harmless = {});

  // Fields that are given and that nobody has read.
  std::vector<std::string> unread() const;

  std::string path(std::string_view name) const;

 private:
  const OrderedJson& object_;
  std::string where_;
  std::set<std::string> read_;
};

// Ids of a JSON array; 400 naming the first that is none.
std::vector<int32_t> token_ids(const OrderedJson& array, const std::string& path, size_t most,
                               int64_t vocab);

}  // namespace dinfer
