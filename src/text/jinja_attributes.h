#pragma once

#include "text/jinja_native.h"

// What is behind a dot, in brackets, and before parentheses; by the rules of jinja2's
// ImmutableSandboxedEnvironment.
namespace dinfer::jinja {

Value get_attribute(Runtime& runtime, const Value& object, std::string_view name);  // object.name
Value get_item(Runtime& runtime, const Value& object, const Value& key);            // object[key]
Value call(Runtime& runtime, const Value& callee, const Arguments& arguments);

// The object that namespace() makes: the only one that templates can change.
class Namespace final : public Object {
 public:
  explicit Namespace(Dict& attributes) : attributes_(attributes) {}
  std::string_view type_name() const override { return "Namespace"; }
  std::optional<Value> attribute(Runtime&, std::string_view name) override {
    const Value* value = attributes_.find(name);
    return value != nullptr ? std::optional(*value) : std::nullopt;
  }
  void set(Runtime& runtime, const Value& name, const Value& value) {
    runtime.set(attributes_, name, value);
  }

 private:
  Dict& attributes_;
};

}  // namespace dinfer::jinja
