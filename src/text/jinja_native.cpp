#include "text/jinja_native.h"

#include "text/jinja_operations.h"

namespace dinfer::jinja {

bool Bound::flag(size_t i) const { return given[i] != nullptr && truthy(*given[i]); }

int64_t Bound::integer(size_t i, int64_t otherwise) const {
  return has(i) ? to_integer(*given[i], "an argument") : otherwise;
}

const Text& Bound::text(size_t i) const {
  const Value value = this->value(i);
  require_defined(value);
  if (!value.is_string()) {
    throw TemplateError("an argument must be str, not " + std::string(type_name(value)));
  }
  return value.text();
}

Value invoke(Runtime& runtime, const Native& native, const Value& self,
             const Arguments& arguments) {
  runtime.charge(1);
  Bound bound{arguments};
  if (native.parameters == "*") return native.function(runtime, self, bound);
  size_t count = 0, used = 0;
  for (std::string_view rest = native.parameters; !rest.empty(); ++count) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const Value* named = arguments.find(rest.substr(0, end));
    if (count < arguments.positional.size()) {
      if (named != nullptr) {
        throw TemplateError(std::string(native.name) + "() got multiple values for argument '" +
                            std::string(rest.substr(0, end)) + "'");
      }
      bound.given[count] = &arguments.positional[count];
    } else if (named != nullptr) {
      bound.given[count] = named;
      ++used;
    } else if (count < native.required) {
      throw TemplateError(std::string(native.name) + "() missing required argument '" +
                          std::string(rest.substr(0, end)) + "'");
    }
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (arguments.positional.size() > count || used < arguments.named.size()) {
    throw TemplateError(std::string(native.name) + "() got an unexpected argument");
  }
  return native.function(runtime, self, bound);
}

const Native* find_filter(std::string_view name) {
  const Native* filter = find_text_filter(name);
  return filter != nullptr ? filter : find_sequence_filter(name);
}

}  // namespace dinfer::jinja
