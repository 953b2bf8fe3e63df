#include "grammar/schema_view.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace dinfer {

namespace {

constexpr std::array<std::string_view, 7> kTypes{"object",  "array",   "string", "number",
                                                 "integer", "boolean", "null"};

// What says nothing about values.
constexpr std::array<std::string_view, 20> kAnnotations{"title",
                                                        "description",
                                                        "default",
                                                        "examples",
                                                        "example",
                                                        "$schema",
                                                        "$id",
                                                        "$comment",
                                                        "$defs",
                                                        "definitions",
                                                        "readOnly",
                                                        "deprecated",
                                                        "writeOnly",
                                                        "$anchor",
                                                        "discriminator",
                                                        "$vocabulary",
                                                        "externalDocs",
                                                        "contentEncoding",
                                                        "contentMediaType",
                                                        "contentSchema"};

constexpr std::array<std::string_view, 25> kHonoured{"type",
                                                     "enum",
                                                     "const",
                                                     "anyOf",
                                                     "oneOf",
                                                     "allOf",
                                                     "$ref",
                                                     "items",
                                                     "required",
                                                     "properties",
                                                     "prefixItems",
                                                     "propertyNames",
                                                     "minItems",
                                                     "maxItems",
                                                     "additionalProperties",
                                                     "minLength",
                                                     "maxLength",
                                                     "minimum",
                                                     "maximum",
                                                     "patternProperties",
                                                     "exclusiveMinimum",
                                                     "exclusiveMaximum",
                                                     "pattern",
                                                     "format",
                                                     "uniqueItems"};

constexpr int kMostDiscriminators = 16;  // the first properties may tell schemas apart

bool intersects(const std::vector<OrderedJson>& a, const std::vector<OrderedJson>& b) {
  return std::ranges::any_of(
      a, [&](const OrderedJson& value) { return std::ranges::find(b, value) != b.end(); });
}

// The schema of a property that an object must have.
const OrderedJson* required_property(const SchemaView& schema, const std::string& name) {
  const OrderedJson* properties = schema.find("properties");
  const OrderedJson* required = schema.find("required");
  if (!properties || !properties->is_object() || !required || !required->is_array()) return nullptr;
  const auto at = properties->find(name);
  const bool must = std::ranges::find(*required, OrderedJson(name)) != required->end();
  return must && at != properties->end() ? &*at : nullptr;
}

}  // namespace

void SchemaView::refuse(const std::string& why) const {
  fail(ExitCode::usage, "{}: {}", path, why);
}

std::optional<int64_t> SchemaView::count(const std::string& key) const {
  const OrderedJson* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_number_integer() || *value < 0 || *value > int64_t{1} << 31)
    refuse(key + " must be a whole number from 0 to 2147483648");
  return value->get<int64_t>();
}

std::vector<std::string> SchemaView::types() const {
  const OrderedJson* type = find("type");
  if (!type) return {};
  std::vector<std::string> names;
  for (const OrderedJson& name : type->is_array() ? *type : OrderedJson::array({*type})) {
    if (!name.is_string() || std::ranges::find(kTypes, name.get<std::string>()) == kTypes.end())
      refuse("type must name types of JSON");
    names.push_back(name.get<std::string>());
  }
  if (names.empty()) refuse("type names no type");
  return names;
}

std::optional<std::vector<OrderedJson>> SchemaView::values() const {
  std::vector<OrderedJson> values;
  if (const OrderedJson* only = find("const")) {
    values = {*only};
  } else if (const OrderedJson* list = find("enum")) {
    if (!list->is_array() || list->empty()) refuse("enum must be an array of values");
    values.assign(list->begin(), list->end());
  } else {
    return std::nullopt;
  }
  const std::vector<std::string> allowed = types();
  if (!allowed.empty()) {
    std::erase_if(values, [&](const OrderedJson& value) {
      return std::ranges::none_of(allowed,
                                  [&](const std::string& type) { return is_of_type(value, type); });
    });
  }
  if (values.empty()) refuse("no value of enum or const is of its type");
  return values;
}

bool is_of_type(const OrderedJson& value, const std::string& type) {
  if (type == "object") return value.is_object();
  if (type == "array") return value.is_array();
  if (type == "string") return value.is_string();
  if (type == "number") return value.is_number();
  if (type == "integer") return value.is_number_integer();
  if (type == "boolean") return value.is_boolean();
  return value.is_null();
}

bool is_annotation(std::string_view keyword) {
  return keyword.starts_with("x-") ||
         std::ranges::find(kAnnotations, keyword) != kAnnotations.end();
}

void check_keywords(const SchemaView& schema) {
  for (const auto& [key, value] : schema.json->items()) {
    const std::string_view name = key;
    if (is_annotation(name)) continue;
    if (std::ranges::find(kHonoured, name) != kHonoured.end()) continue;
    schema.refuse(fmt::format(
        "the keyword {} is not available",
        OrderedJson(key.substr(0, 60)).dump(-1, ' ', true, OrderedJson::error_handler_t::replace)));
  }
}

SchemaView resolve(const OrderedJson& document, const SchemaView& schema, const std::string& ref) {
  if (!ref.starts_with('#')) schema.refuse("$ref must point into this schema: \"#/$defs/NAME\"");
  try {
    const OrderedJson::json_pointer pointer(ref.substr(1));
    return {&document.at(pointer), ref.substr(0, 200)};
  } catch (const OrderedJson::exception&) {
    schema.refuse("$ref points to nothing");
  }
}

SchemaView follow(const OrderedJson& document, SchemaView schema) {
  for (int i = 0; i < 8; ++i) {
    const OrderedJson* ref = schema.find("$ref");
    if (!ref || !ref->is_string()) break;
    schema = resolve(document, schema, ref->get<std::string>());
  }
  return schema;
}

bool are_disjoint(const SchemaView& a, const SchemaView& b) {
  if (!a.json->is_object() || !b.json->is_object()) return false;
  const auto a_values = a.values(), b_values = b.values();
  if (a_values && b_values) return !intersects(*a_values, *b_values);
  const auto a_types = a.types(), b_types = b.types();
  const auto is_number = [](const std::string& type) {
    return type == "number" || type == "integer";
  };
  const bool types_differ = !a_types.empty() && !b_types.empty() &&
                            std::ranges::none_of(a_types, [&](const std::string& one) {
                              return std::ranges::any_of(b_types, [&](const std::string& other) {
                                return one == other || (is_number(one) && is_number(other));
                              });
                            });
  if (types_differ) return true;
  const OrderedJson* properties = a.find("properties");
  if (!properties || !properties->is_object() || a_types != b_types || a_types.size() != 1)
    return false;
  int looked_at = 0;
  for (const auto& [name, unused] : properties->items()) {
    if (++looked_at > kMostDiscriminators) break;
    const OrderedJson* of_a = required_property(a, name);
    const OrderedJson* of_b = required_property(b, name);
    if (!of_a || !of_b) continue;
    const auto values_a = SchemaView{of_a, a.path}.values(),
               values_b = SchemaView{of_b, b.path}.values();
    if (values_a && values_b && !intersects(*values_a, *values_b)) return true;
  }
  return false;
}

}  // namespace dinfer
