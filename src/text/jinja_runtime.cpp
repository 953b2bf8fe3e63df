#include "text/jinja_runtime.h"

namespace dinfer::jinja {

void Runtime::out_of_steps() const {
  throw TemplateError("takes more than " + std::to_string(budget_.steps) + " steps");
}

Value Runtime::text(Text text) {
  charge(1);
  charge_bytes(text.bytes.size() + text.data.size() * sizeof(TextSpan) + sizeof(Text));
  return Value(heap_.text(std::move(text)));
}

Value Runtime::text(std::string_view bytes, bool data) {
  Text text{std::string(bytes), {}, false};
  if (data && !bytes.empty()) text.data.push_back({0, bytes.size()});
  return this->text(std::move(text));
}

Value Runtime::slice(const Text& text, size_t begin, size_t end) {
  TextBuilder part = builder();
  part.add(text, begin, end);
  Text result = part.take();
  result.markup = text.markup;
  return this->text(std::move(result));
}

Value Runtime::sequence(SequenceKind kind, std::vector<Value> items) {
  charge(1 + items.size() / 4);
  Sequence sequence;
  sequence.kind = kind;
  sequence.items = std::move(items);
  return Value(heap_.sequence(std::move(sequence)));
}

Dict* Runtime::dict() {
  charge(2);
  return heap_.dict();
}

void Runtime::charge_key(const Value& key) {
  constexpr size_t kComparisons = 8;  // in the index of a large dictionary
  const auto size = key_size(key);
  if (!size) throw TemplateError("unhashable type: '" + std::string(type_name(key)) + "'");
  charge(1);
  charge_bytes(kComparisons * *size);
}

void Runtime::set(Dict& dict, const Value& key, const Value& value) {
  charge_key(key);
  dict.set(key, value);
}

const Value* Runtime::find(const Dict& dict, const Value& key) {
  charge_key(key);
  return dict.find(key);
}

Value Runtime::undefined(std::string message) {
  charge(1);
  return Value(heap_.undefined(std::move(message)));
}

}  // namespace dinfer::jinja
