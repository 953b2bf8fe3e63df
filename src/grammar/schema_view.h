#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace dinfer {

// One schema inside a document of schemas, with its place for messages.
struct SchemaView {
  const OrderedJson* json;
  std::string path;  // "$.properties.name"

  const OrderedJson* find(const std::string& key) const {
    const auto at = json->is_object() ? json->find(key) : json->end();
    return at == json->end() ? nullptr : &*at;
  }
  SchemaView below(const OrderedJson& part, const std::string& name) const {
    return {&part, (path + "." + name).substr(0, 200)};
  }
  // Error(usage): "$.items: ...".
  [[noreturn]] void refuse(const std::string& why) const;

  // Error(usage) for a value that is no whole number of at least 0.
  std::optional<int64_t> count(const std::string& key) const;
  // Types that `type` names; empty where it does not say.
  std::vector<std::string> types() const;
  // The values of `enum` or `const`; nothing where neither is there.
  std::optional<std::vector<OrderedJson>> values() const;
};

// Whether a value is of a type of JSON Schema.
bool is_of_type(const OrderedJson& value, const std::string& type);

// Whether a keyword says nothing about values.
bool is_annotation(std::string_view keyword);

// Error(usage) naming the first keyword that is not honoured.
void check_keywords(const SchemaView& schema);

// The schema that a local $ref points to: "#", "#/$defs/name". Error(usage) for others.
SchemaView resolve(const OrderedJson& document, const SchemaView& schema, const std::string& ref);

// The schema itself, or what its $ref leads to.
SchemaView follow(const OrderedJson& document, SchemaView schema);

// Whether no value can meet both: by their types, their values, or a property that both require
// and whose values differ.
bool are_disjoint(const SchemaView& a, const SchemaView& b);

}  // namespace dinfer
