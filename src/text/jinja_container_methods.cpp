// Methods of dict, list, tuple and range that change nothing.
#include "text/jinja_native.h"
#include "text/jinja_operations.h"

namespace dinfer::jinja {
namespace {

Value dict_get(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value* value = runtime.find(self.dict(), arguments.value(0));
  return value != nullptr ? *value : arguments.value(1);
}

Value dict_keys(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.sequence(SequenceKind::dict_keys, elements(runtime, self));
}

Value dict_values(Runtime& runtime, const Value& self, const Bound&) {
  std::vector<Value> values;
  for (const auto& entry : self.dict().entries) values.push_back(entry.second);
  return runtime.sequence(SequenceKind::dict_values, std::move(values));
}

Value dict_items(Runtime& runtime, const Value& self, const Bound&) {
  std::vector<Value> items;
  for (const auto& [key, value] : self.dict().entries) items.push_back(runtime.tuple({key, value}));
  return runtime.sequence(SequenceKind::dict_items, std::move(items));
}

Value dict_copy(Runtime& runtime, const Value& self, const Bound&) {
  Dict* copy = runtime.dict();
  for (const auto& [key, value] : self.dict().entries) runtime.set(*copy, key, value);
  return Value(copy);
}

Value dict_fromkeys(Runtime& runtime, const Value&, const Bound& arguments) {
  Dict* dict = runtime.dict();
  for (const Value& key : elements(runtime, arguments.value(0))) {
    runtime.set(*dict, key, arguments.value(1));
  }
  return Value(dict);
}

Value list_copy(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.list(elements(runtime, self));
}

Value sequence_count(Runtime& runtime, const Value& self, const Bound& arguments) {
  int64_t count = 0;
  for (const Value& item : self.sequence().items) {
    count += equal(runtime, item, arguments.value(0));
  }
  return Value(count);
}

Value sequence_index(Runtime& runtime, const Value& self, const Bound& arguments) {
  const auto& items = self.sequence().items;
  const SliceBounds bounds = slice_bounds(arguments.value(1), arguments.value(2), Value(),
                                          static_cast<int64_t>(items.size()));
  for (int64_t i = bounds.start; i < bounds.stop; ++i) {
    if (equal(runtime, items[static_cast<size_t>(i)], arguments.value(0))) return Value(i);
  }
  throw TemplateError("the value is not in the " + std::string(type_name(self)));
}

constexpr Native kDictMethods[] = {
    {"copy", "", 0, dict_copy},          {"fromkeys", "iterable value", 1, dict_fromkeys},
    {"get", "key default", 1, dict_get}, {"items", "", 0, dict_items},
    {"keys", "", 0, dict_keys},          {"values", "", 0, dict_values},
};
constexpr Native kListMethods[] = {
    {"copy", "", 0, list_copy},
    {"count", "value", 1, sequence_count},
    {"index", "value start stop", 1, sequence_index},
};
constexpr Native kTupleMethods[] = {
    {"count", "value", 1, sequence_count},
    {"index", "value start stop", 1, sequence_index},
};

}  // namespace

const Native* find_container_method(const Value& container, std::string_view name) {
  if (container.is(Kind::dict)) return find_native(kDictMethods, name);
  switch (container.sequence().kind) {
    case SequenceKind::list:
      return find_native(kListMethods, name);
    case SequenceKind::tuple:
    case SequenceKind::range:
      return find_native(kTupleMethods, name);
    default:
      return nullptr;
  }
}

}  // namespace dinfer::jinja
