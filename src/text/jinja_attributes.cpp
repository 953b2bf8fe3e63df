#include "text/jinja_attributes.h"

#include <fmt/format.h>

#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

// How jinja2 names an object in messages on missing attributes.
std::string object_name(const Value& object) {
  if (object.is_none()) return "None";
  return fmt::format("{} object", type_name(object));
}

Value missing(Runtime& runtime, const Value& object, const Value& key) {
  if (!key.is_string()) {
    return runtime.undefined(
        fmt::format("{} has no element {}", object_name(object), repr(runtime, key).view()));
  }
  return runtime.undefined(fmt::format(
      "{} has no attribute {}", repr_of_string(object_name(object)), repr_of_string(key.view())));
}

Value unsafe(Runtime& runtime, const Value& object, std::string_view name) {
  return runtime.undefined(fmt::format("access to attribute {} of {} object is unsafe.",
                                       repr_of_string(name), repr_of_string(type_name(object))));
}

bool changes_container(const Value& object, std::string_view name) {
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  if (object.is(Kind::dict))
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return object.is(Kind::sequence) && object.sequence().kind == SequenceKind::list &&
         std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
}

bool internal(std::string_view name) {
  return name.size() > 4 && name.starts_with("__") && name.ends_with("__");
}

// Python's getattr, none where it raises AttributeError.
std::optional<Value> own_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  const Native* method = nullptr;
  switch (object.kind()) {
    case Kind::object:
      if (auto value = object.object().attribute(runtime, name)) return value;
      break;
    case Kind::string:
      method = find_string_method(name);
      break;
    case Kind::sequence:
      if (object.sequence().group && (name == "grouper" || name == "list")) {
        return object.sequence().items[name == "grouper" ? 0 : 1];
      }
      [[fallthrough]];
    case Kind::dict:
      if (changes_container(object, name)) return unsafe(runtime, object, name);
      method = find_container_method(object, name);
      break;
    default:
      break;
  }
  if (method != nullptr) return Value(runtime.object<NativeCallable>(*method, object));
  if (internal(name)) return unsafe(runtime, object, name);
  return std::nullopt;
}

std::optional<Value> text_item(Runtime& runtime, const Text& text, int64_t index) {
  runtime.charge_bytes(text.bytes.size());
  if (index < 0) index += static_cast<int64_t>(count_characters(text.bytes));
  if (index < 0) return std::nullopt;
  const size_t at = offset_of_character(text.bytes, static_cast<size_t>(index));
  if (at >= text.bytes.size()) return std::nullopt;
  return runtime.slice(text, at, at + character_at(text.bytes, at).size);
}

// Python's object[key], none where it raises TypeError or LookupError.
std::optional<Value> own_item(Runtime& runtime, const Value& object, const Value& key) {
  if (object.is(Kind::dict)) {
    if (!key_size(key)) return std::nullopt;
    const Value* value = runtime.find(object.dict(), key);
    return value != nullptr ? std::optional(*value) : std::nullopt;
  }
  if (!key.is_integral()) return std::nullopt;
  if (object.is_string()) return text_item(runtime, object.text(), key.integer());
  if (!object.is(Kind::sequence)) return std::nullopt;
  const Sequence& sequence = object.sequence();
  if (sequence.kind != SequenceKind::list && sequence.kind != SequenceKind::tuple &&
      sequence.kind != SequenceKind::range) {
    return std::nullopt;
  }
  const auto size = static_cast<int64_t>(sequence.items.size());
  const int64_t index = key.integer() < 0 ? key.integer() + size : key.integer();
  if (index < 0 || index >= size) return std::nullopt;
  return sequence.items[static_cast<size_t>(index)];
}

}  // namespace

Value get_attribute(Runtime& runtime, const Value& object, std::string_view name) {
  runtime.charge(1);
  runtime.charge_bytes(name.size());
  require_defined(object);
  if (object.is(Kind::dict) && internal(name)) {
    if (const Value* value = object.dict().find(name)) return *value;
  }
  if (auto value = own_attribute(runtime, object, name)) return *value;
  if (object.is(Kind::dict)) {
    if (const Value* value = object.dict().find(name)) return *value;
  }
  return missing(runtime, object, runtime.text(name));
}

Value get_item(Runtime& runtime, const Value& object, const Value& key) {
  runtime.charge(1);
  require_defined(object);
  if (auto value = own_item(runtime, object, key)) return *value;
  if (key.is_string()) {
    if (auto value = own_attribute(runtime, object, key.view())) return *value;
  }
  return missing(runtime, object, key);
}

Value call(Runtime& runtime, const Value& callee, const Arguments& arguments) {
  const Runtime::Nesting nesting(runtime);
  runtime.charge(1);
  require_defined(callee);
  if (!callee.is(Kind::object)) {
    throw TemplateError(fmt::format("'{}' object is not callable", type_name(callee)));
  }
  return callee.object().call(runtime, arguments);
}

}  // namespace dinfer::jinja
