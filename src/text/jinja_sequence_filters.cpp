// Filters on sequences and mappings.
#include <algorithm>

#include "text/jinja_attributes.h"
#include "text/jinja_case.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"
#include "text/jinja_split.h"

namespace dinfer::jinja {
namespace {

Value ignore_case(Runtime& runtime, const Value& value) {
  return value.is_string() ? change_case(runtime, value.text(), Casing::lower) : value;
}

// The path "a.0.b" of an `attribute` argument, applied to values.
class AttributePath {
 public:
  AttributePath(Runtime& runtime, const Value& attribute, const Value* otherwise = nullptr)
      : runtime_(runtime), otherwise_(otherwise) {
    if (attribute.is_none()) return;
    if (!attribute.is_string()) {
      parts_.push_back(attribute);
      return;
    }
    for (const Value& part : split(runtime, attribute.text(), runtime.text("."), -1)) {
      const std::string_view name = part.view();
      const bool number =
          !name.empty() && name.size() < 18 &&
          std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
      parts_.push_back(number ? Value(int64_t{std::stoll(std::string(name))}) : part);
    }
  }

  Value of(Value value) const {
    for (const Value& part : parts_) {
      value = get_item(runtime_, value, part);
      if (value.is_undefined() && otherwise_ != nullptr && !otherwise_->is_none()) {
        value = *otherwise_;
      }
    }
    return value;
  }

 private:
  Runtime& runtime_;
  const Value* otherwise_;
  std::vector<Value> parts_;
};

struct Keyed {
  Value key;
  Value item;
};

// Stable, by keys; equal keys keep their order also when reversed.
void sort_by_key(Runtime& runtime, std::vector<Keyed>& items, bool reverse) {
  std::stable_sort(items.begin(), items.end(), [&](const Keyed& a, const Keyed& b) {
    return reverse ? compare(runtime, CompareOp::less, b.key, a.key)
                   : compare(runtime, CompareOp::less, a.key, b.key);
  });
}

std::vector<Value> items_of(const std::vector<Keyed>& keyed) {
  std::vector<Value> items;
  items.reserve(keyed.size());
  for (const Keyed& entry : keyed) items.push_back(entry.item);
  return items;
}

Value attr(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& name = arguments.text(0).bytes;
  if (!self.is(Kind::dict)) return get_attribute(runtime, self, name);
  // Not an item of that name: attributes only.
  const Value empty(runtime.dict());
  return get_attribute(runtime, empty, name);
}

Value batch(Runtime& runtime, const Value& self, const Bound& arguments) {
  const int64_t size = arguments.integer(0, 0);
  std::vector<Value> batches, current;
  for (const Value& item : elements(runtime, self)) {
    if (static_cast<int64_t>(current.size()) == size) {
      batches.push_back(runtime.list(std::move(current)));
      current.clear();
    }
    current.push_back(item);
  }
  if (!current.empty()) {
    while (arguments.has(1) && static_cast<int64_t>(current.size()) < size) {
      runtime.charge(1);
      current.push_back(arguments.value(1));
    }
    batches.push_back(runtime.list(std::move(current)));
  }
  return runtime.iterator(std::move(batches));
}

Value slice_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::vector<Value> items = elements(runtime, self);
  const int64_t slices = arguments.integer(0, 0);
  if (slices == 0) throw TemplateError("integer division or modulo by zero");
  const auto size = static_cast<int64_t>(items.size());
  std::vector<Value> parts;
  auto at = items.begin();
  for (int64_t i = 0; i < slices; ++i) {
    const bool longer = i < size % slices;
    const auto end = at + size / slices + (longer ? 1 : 0);
    std::vector<Value> part(at, end);
    if (arguments.has(1) && !longer) part.push_back(arguments.value(1));
    parts.push_back(runtime.list(std::move(part)));
    at = end;
  }
  return runtime.iterator(std::move(parts));
}

Value default_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (!self.is_undefined() && !(arguments.flag(1) && !truthy(self))) return self;
  return arguments.given[0] != nullptr ? *arguments.given[0] : runtime.text("");
}

Value dictsort(Runtime& runtime, const Value& self, const Bound& arguments) {
  require_defined(self);
  if (!self.is(Kind::dict)) {
    throw TemplateError("'" + std::string(type_name(self)) + "' object has no attribute 'items'");
  }
  const std::string_view by =
      arguments.given[1] == nullptr ? "key" : std::string_view(arguments.text(1).bytes);
  if (by != "key" && by != "value") {
    throw TemplateError("You can only sort by either \"key\" or \"value\"");
  }
  std::vector<Keyed> entries;
  for (const auto& [key, value] : self.dict().entries) {
    const Value& sorted_by = by == "key" ? key : value;
    entries.push_back({arguments.flag(0) ? sorted_by : ignore_case(runtime, sorted_by),
                       runtime.tuple({key, value})});
  }
  sort_by_key(runtime, entries, arguments.flag(2));
  return runtime.list(items_of(entries));
}

Value first(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is(Kind::sequence)) {
    Sequence& sequence = self.sequence();
    if (sequence.next < sequence.items.size()) {
      const size_t at = sequence.next;
      if (sequence.kind == SequenceKind::iterator) ++sequence.next;
      return sequence.items[at];
    }
  } else if (self.is_string() && !self.view().empty()) {
    return get_item(runtime, self, Value(int64_t{0}));
  } else if (const auto items = elements(runtime, self); !items.empty()) {
    return items.front();
  }
  return runtime.undefined("No first item, sequence was empty.");
}

Value last(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is(Kind::sequence) && self.sequence().kind == SequenceKind::iterator) {
    throw TemplateError("'generator' object is not reversible");
  }
  if (self.is_string() && !self.view().empty()) {
    return get_item(runtime, self, Value(int64_t{-1}));
  }
  if (self.is(Kind::sequence) && !self.sequence().items.empty()) {
    return self.sequence().items.back();
  }
  const auto items = elements(runtime, self);
  return items.empty() ? runtime.undefined("No last item, sequence was empty.") : items.back();
}

Value length_filter(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is_string()) runtime.charge_bytes(self.view().size());
  const auto size = length(self);
  if (!size) {
    throw TemplateError("object of type '" + std::string(type_name(self)) + "' has no len()");
  }
  return Value(*size);
}

Value list_filter(Runtime& runtime, const Value& self, const Bound&) {
  return runtime.list(elements(runtime, self));
}

Value items_filter(Runtime& runtime, const Value& self, const Bound&) {
  std::vector<Value> items;
  if (self.is(Kind::dict)) {
    for (const auto& [key, value] : self.dict().entries) {
      items.push_back(runtime.tuple({key, value}));
    }
  } else if (!self.is_undefined()) {
    throw TemplateError("Can only get item pairs from a mapping.");
  }
  return runtime.iterator(std::move(items));
}

Value join_filter(Runtime& runtime, const Value& self, const Bound& arguments) {
  std::vector<Value> items = elements(runtime, self);
  if (arguments.has(1)) {
    const AttributePath path(runtime, arguments.value(1));
    for (Value& item : items) item = path.of(item);
  }
  const Value separator = arguments.value(0, runtime.text(""));
  return join(runtime, to_text(runtime, separator).text(), items);
}

// The rest of the arguments from position `from` on, for a filter or test called by name.
Arguments rest_of(const Arguments& all, size_t from) {
  Arguments rest = all;
  rest.positional.erase(rest.positional.begin(),
                        rest.positional.begin() + static_cast<std::ptrdiff_t>(from));
  return rest;
}

std::string_view name_argument(const Value& name) {
  if (!name.is_string()) throw TemplateError("the name of a filter or test must be a str");
  return name.view();
}

Value map(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (!truthy(self)) return runtime.iterator({});
  std::vector<Value> items = elements(runtime, self);
  const Value* attribute = arguments.all.find("attribute");
  if (arguments.all.positional.empty() && attribute != nullptr) {
    const Value* otherwise = arguments.all.find("default");
    if (arguments.all.named.size() != (otherwise != nullptr ? 2 : 1)) {
      throw TemplateError("map got an unexpected keyword argument");
    }
    const AttributePath path(runtime, *attribute, otherwise);
    for (Value& item : items) item = path.of(item);
    return runtime.iterator(std::move(items));
  }
  if (arguments.all.positional.empty()) throw TemplateError("map requires a filter argument");
  const std::string_view name = name_argument(arguments.all.positional[0]);
  const Native* filter = find_filter(name);
  if (filter == nullptr) throw TemplateError("No filter named " + repr_of_string(name) + ".");
  const Runtime::Nesting nesting(runtime);
  const Arguments rest = rest_of(arguments.all, 1);
  for (Value& item : items) item = invoke(runtime, *filter, item, rest);
  return runtime.iterator(std::move(items));
}

template <bool by_attribute, bool wanted>
Value select(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (!truthy(self)) return runtime.iterator({});
  const auto& positional = arguments.all.positional;
  constexpr size_t at = by_attribute ? 1 : 0;
  if (positional.size() < at) throw TemplateError("Missing parameter for attribute name");
  const AttributePath path(runtime, by_attribute ? positional[0] : Value());
  const Native* test = nullptr;
  Arguments rest;
  if (positional.size() > at) {
    const std::string_view name = name_argument(positional[at]);
    test = find_test(name);
    if (test == nullptr) throw TemplateError("No test named " + repr_of_string(name) + ".");
    rest = rest_of(arguments.all, at + 1);
  }
  std::vector<Value> selected;
  for (const Value& item : elements(runtime, self)) {
    const Value tested = path.of(item);
    const bool passes = truthy(test == nullptr ? tested : invoke(runtime, *test, tested, rest));
    if (passes == wanted) selected.push_back(item);
  }
  return runtime.iterator(std::move(selected));
}

template <bool largest>
Value extreme(Runtime& runtime, const Value& self, const Bound& arguments) {
  const AttributePath path(runtime, arguments.value(1));
  std::optional<Keyed> best;
  for (const Value& item : elements(runtime, self)) {
    Value key = path.of(item);
    if (!arguments.flag(0)) key = ignore_case(runtime, key);
    if (!best || compare(runtime, largest ? CompareOp::greater : CompareOp::less, key, best->key)) {
      best = Keyed{key, item};
    }
  }
  return best ? best->item : runtime.undefined("No aggregated item, sequence was empty.");
}

Value reverse(Runtime& runtime, const Value& self, const Bound&) {
  if (self.is_string()) {
    return slice(runtime, self, Value(), Value(), Value(int64_t{-1}));
  }
  std::vector<Value> items = elements(runtime, self);
  std::reverse(items.begin(), items.end());
  const bool generator = self.is(Kind::sequence) && self.sequence().kind == SequenceKind::iterator;
  return generator ? runtime.list(std::move(items)) : runtime.iterator(std::move(items));
}

Value sort(Runtime& runtime, const Value& self, const Bound& arguments) {
  std::vector<AttributePath> paths;
  const Value attribute = arguments.value(2);
  if (attribute.is_string()) {
    for (const Value& part : split(runtime, attribute.text(), runtime.text(","), -1)) {
      paths.emplace_back(runtime, part);
    }
  } else {
    paths.emplace_back(runtime, attribute);
  }
  std::vector<Keyed> entries;
  for (const Value& item : elements(runtime, self)) {
    std::vector<Value> keys;
    for (const AttributePath& path : paths) {
      const Value key = path.of(item);
      keys.push_back(arguments.flag(1) ? key : ignore_case(runtime, key));
    }
    entries.push_back({runtime.list(std::move(keys)), item});
  }
  sort_by_key(runtime, entries, arguments.flag(0));
  return runtime.list(items_of(entries));
}

Value groupby(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value otherwise = arguments.value(1);
  const AttributePath path(runtime, arguments.value(0), &otherwise);
  const bool case_sensitive = arguments.flag(2);
  std::vector<Keyed> entries;
  for (const Value& item : elements(runtime, self)) {
    const Value key = path.of(item);
    entries.push_back({case_sensitive ? key : ignore_case(runtime, key), item});
  }
  sort_by_key(runtime, entries, false);
  std::vector<Value> groups;
  for (size_t begin = 0, end = 0; begin < entries.size(); begin = end) {
    std::vector<Value> members;
    for (end = begin; end < entries.size() && equal(runtime, entries[end].key, entries[begin].key);
         ++end) {
      members.push_back(entries[end].item);
    }
    if (members.empty()) throw TemplateError("groupby: a key does not equal itself");
    const Value key = case_sensitive ? entries[begin].key : path.of(members.front());
    const Value group = runtime.tuple({key, runtime.list(std::move(members))});
    group.sequence().group = true;
    groups.push_back(group);
  }
  return runtime.list(std::move(groups));
}

Value sum(Runtime& runtime, const Value& self, const Bound& arguments) {
  const AttributePath path(runtime, arguments.value(0));
  Value total = arguments.value(1, Value(int64_t{0}));
  if (total.is_string()) throw TemplateError("sum() can't sum strings [use ''.join(seq) instead]");
  for (const Value& item : elements(runtime, self)) {
    total = arithmetic(runtime, ArithmeticOp::add, total, path.of(item));
  }
  return total;
}

Value unique(Runtime& runtime, const Value& self, const Bound& arguments) {
  const AttributePath path(runtime, arguments.value(1));
  Dict* seen = runtime.dict();
  std::vector<Value> kept;
  for (const Value& item : elements(runtime, self)) {
    Value key = path.of(item);
    if (!arguments.flag(0)) key = ignore_case(runtime, key);
    const size_t before = seen->entries.size();
    runtime.set(*seen, key, Value());
    if (seen->entries.size() > before) kept.push_back(item);
  }
  return runtime.iterator(std::move(kept));
}

constexpr Native kFilters[] = {
    {"attr", "name", 1, attr},
    {"batch", "linecount fill_with", 1, batch},
    {"count", "", 0, length_filter},
    {"d", "default_value boolean", 0, default_filter},
    {"default", "default_value boolean", 0, default_filter},
    {"dictsort", "case_sensitive by reverse", 0, dictsort},
    {"first", "", 0, first},
    {"groupby", "attribute default case_sensitive", 1, groupby},
    {"items", "", 0, items_filter},
    {"join", "d attribute", 0, join_filter},
    {"last", "", 0, last},
    {"length", "", 0, length_filter},
    {"list", "", 0, list_filter},
    {"map", "*", 0, map},
    {"max", "case_sensitive attribute", 0, extreme<true>},
    {"min", "case_sensitive attribute", 0, extreme<false>},
    {"reject", "*", 0, select<false, false>},
    {"rejectattr", "*", 0, select<true, false>},
    {"reverse", "", 0, reverse},
    {"select", "*", 0, select<false, true>},
    {"selectattr", "*", 0, select<true, true>},
    {"slice", "slices fill_with", 1, slice_filter},
    {"sort", "reverse case_sensitive attribute", 0, sort},
    {"sum", "attribute start", 0, sum},
    {"unique", "case_sensitive attribute", 0, unique},
};

}  // namespace

const Native* find_sequence_filter(std::string_view name) { return find_native(kFilters, name); }

}  // namespace dinfer::jinja
