#include "text/jinja_value.h"

#include <cmath>

namespace dinfer::jinja {
namespace {

constexpr size_t kLinearSearch = 8;  // entries up to which a dictionary needs no index

long double number(const Value& value) {
  if (value.is(Kind::real)) return value.real();
  if (value.is(Kind::big)) return value.big();
  return value.integer();
}

int rank(const Value& value) { return value.is_number() ? -1 : static_cast<int>(value.kind()); }

bool number_less(const Value& a, const Value& b) {
  const long double x = number(a), y = number(b);
  if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && !std::isnan(y);
  return x < y;
}

}  // namespace

// Compares without recursion limits of its own: keys nest no deeper than key_size() lets them.
bool KeyLess::operator()(const Value& a, const Value& b) const {
  if (rank(a) != rank(b)) return rank(a) < rank(b);
  if (a.is_number()) return number_less(a, b);
  switch (a.kind()) {
    case Kind::string:
      return a.view() < b.view();
    case Kind::sequence: {
      const auto &x = a.sequence().items, &y = b.sequence().items;
      for (size_t i = 0; i < x.size() && i < y.size(); ++i) {
        if ((*this)(x[i], y[i])) return true;
        if ((*this)(y[i], x[i])) return false;
      }
      return x.size() < y.size();
    }
    case Kind::object:
      return std::less<>()(&a.object(), &b.object());
    default:
      return false;
  }
}

const Value* Dict::find(const Value& key) const {
  if (key.is_string()) return find(key.view());
  if (!index.empty()) {
    const auto place = index.find(key);
    return place == index.end() ? nullptr : &entries[place->second].second;
  }
  const KeyLess less;
  for (const auto& [name, value] : entries) {
    if (!less(name, key) && !less(key, name)) return &value;
  }
  return nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (!index.empty()) {
    const Text text{std::string(key), {}, false};
    const auto place = index.find(Value(&text));
    return place == index.end() ? nullptr : &entries[place->second].second;
  }
  for (const auto& [name, value] : entries) {
    if (name.is_string() && name.view() == key) return &value;
  }
  return nullptr;
}

void Dict::set(const Value& key, const Value& value) {
  if (const Value* present = find(key)) {
    *const_cast<Value*>(present) = value;
    return;
  }
  entries.emplace_back(key, value);
  if (!index.empty()) {
    index.emplace(key, entries.size() - 1);
  } else if (entries.size() > kLinearSearch) {
    for (size_t i = 0; i < entries.size(); ++i) index.emplace(entries[i].first, i);
  }
}

Value Object::call(Runtime&, const Arguments&) {
  throw TemplateError("'" + std::string(type_name()) + "' object is not callable");
}

std::string_view type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return "Undefined";
    case Kind::none:
      return "NoneType";
    case Kind::boolean:
      return "bool";
    case Kind::integer:
    case Kind::big:
      return "int";
    case Kind::real:
      return "float";
    case Kind::string:
      return value.text().markup ? "Markup" : "str";
    case Kind::dict:
      return "dict";
    case Kind::object:
      return value.object().type_name();
    case Kind::sequence:
      break;
  }
  switch (value.sequence().kind) {
    case SequenceKind::list:
      return "list";
    case SequenceKind::tuple:
      return "tuple";
    case SequenceKind::range:
      return "range";
    case SequenceKind::dict_keys:
      return "dict_keys";
    case SequenceKind::dict_values:
      return "dict_values";
    case SequenceKind::dict_items:
      return "dict_items";
    case SequenceKind::iterator:
      break;
  }
  return "generator";
}

namespace {

// Adds the size of `value` to `size`; false: it cannot be a key. `values`: how many more there may
// be.
bool add_key_size(const Value& value, int& values, size_t& size) {
  if (--values < 0 || value.is(Kind::dict)) return false;
  size += value.is_string() ? value.view().size() : sizeof(Value);
  if (!value.is(Kind::sequence)) return true;
  const Sequence& sequence = value.sequence();
  if (sequence.kind != SequenceKind::tuple) return false;
  for (const Value& item : sequence.items) {
    if (!add_key_size(item, values, size)) return false;
  }
  return true;
}

}  // namespace

std::optional<size_t> key_size(const Value& value) {
  int values = 256;
  size_t size = 0;
  return add_key_size(value, values, size) ? std::optional(size) : std::nullopt;
}

}  // namespace dinfer::jinja
