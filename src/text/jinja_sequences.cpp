// Length, iteration and slices of values.
#include <algorithm>

#include "text/jinja_operations.h"

namespace dinfer::jinja {

std::optional<int64_t> length(const Value& value) {
  switch (value.kind()) {
    case Kind::undefined:
      return 0;
    case Kind::string:
      return static_cast<int64_t>(count_characters(value.view()));
    case Kind::dict:
      return static_cast<int64_t>(value.dict().entries.size());
    case Kind::sequence:
      if (value.sequence().kind == SequenceKind::iterator) return std::nullopt;
      return static_cast<int64_t>(value.sequence().items.size());
    default:
      return std::nullopt;
  }
}

bool iterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is(Kind::dict) ||
         value.is(Kind::sequence);
}

std::vector<Value> elements(Runtime& runtime, const Value& value) {
  std::vector<Value> items;
  switch (value.kind()) {
    case Kind::undefined:
      return items;
    case Kind::string: {
      const Text& text = value.text();
      for (size_t at = 0; at < text.bytes.size();) {
        const size_t size = character_at(text.bytes, at).size;
        TextBuilder character = runtime.builder();
        character.add(text, at, at + size);
        items.push_back(runtime.text(character));
        at += size;
      }
      return items;
    }
    case Kind::dict:
      runtime.charge(value.dict().entries.size() / 4);
      for (const auto& entry : value.dict().entries) items.push_back(entry.first);
      return items;
    case Kind::sequence: {
      Sequence& sequence = value.sequence();
      runtime.charge((sequence.items.size() - sequence.next) / 4);
      items.assign(sequence.items.begin() + static_cast<std::ptrdiff_t>(sequence.next),
                   sequence.items.end());
      if (sequence.kind == SequenceKind::iterator) sequence.next = sequence.items.size();
      return items;
    }
    default:
      throw TemplateError("'" + std::string(type_name(value)) + "' object is not iterable");
  }
}

SliceBounds slice_bounds(const Value& start, const Value& stop, const Value& step, int64_t size) {
  static constexpr std::string_view kWhat = "a slice index";
  SliceBounds bounds{0, 0, step.is_none() ? 1 : to_integer(step, kWhat)};
  if (bounds.step == 0) throw TemplateError("slice step cannot be zero");
  const bool back = bounds.step < 0;
  const int64_t lowest = back ? -1 : 0, highest = back ? size - 1 : size;
  const auto clamp = [&](const Value& bound, int64_t otherwise) {
    if (bound.is_none()) return otherwise;
    const int64_t index = to_integer(bound, kWhat);
    return std::clamp(index < 0 ? index + size : index, lowest, highest);
  };
  bounds.start = clamp(start, back ? highest : lowest);
  bounds.stop = clamp(stop, back ? lowest : highest);
  return bounds;
}

namespace {

template <class Take>
void each_index(const SliceBounds& bounds, int64_t size, Take take) {
  int64_t at = bounds.start;
  while (at >= 0 && at < size && (bounds.step > 0 ? at < bounds.stop : at > bounds.stop)) {
    take(static_cast<size_t>(at));
    if (__builtin_add_overflow(at, bounds.step, &at)) break;
  }
}

Value slice_text(Runtime& runtime, const Text& text, const SliceBounds& bounds, int64_t size) {
  runtime.charge_bytes(text.bytes.size());
  if (bounds.step == 1) {
    const size_t begin = offset_of_character(text.bytes, static_cast<size_t>(bounds.start));
    const auto count = static_cast<size_t>(std::max<int64_t>(bounds.stop - bounds.start, 0));
    const std::string_view rest = std::string_view(text.bytes).substr(begin);
    return runtime.slice(text, begin, begin + offset_of_character(rest, count));
  }
  std::vector<size_t> offsets;
  for (size_t at = 0; at < text.bytes.size(); at += character_at(text.bytes, at).size) {
    offsets.push_back(at);
  }
  offsets.push_back(text.bytes.size());
  runtime.charge(offsets.size() / 8);
  TextBuilder picked = runtime.builder();
  each_index(bounds, size, [&](size_t i) { picked.add(text, offsets[i], offsets[i + 1]); });
  return runtime.text(picked);
}

}  // namespace

Value slice(Runtime& runtime, const Value& value, const Value& start, const Value& stop,
            const Value& step) {
  require_defined(value);
  const auto size = length(value);
  if (value.is_string()) {
    return slice_text(runtime, value.text(), slice_bounds(start, stop, step, *size), *size);
  }
  const bool sliceable =
      value.is(Kind::sequence) && (value.sequence().kind == SequenceKind::list ||
                                   value.sequence().kind == SequenceKind::tuple ||
                                   value.sequence().kind == SequenceKind::range);
  if (!sliceable) {
    throw TemplateError("'" + std::string(type_name(value)) + "' object cannot be sliced");
  }
  const Sequence& sequence = value.sequence();
  const SliceBounds bounds = slice_bounds(start, stop, step, *size);
  std::vector<Value> items;
  each_index(bounds, *size, [&](size_t i) { items.push_back(sequence.items[i]); });
  const Value part = runtime.sequence(sequence.kind, std::move(items));
  if (sequence.kind == SequenceKind::range) {
    const auto value_at = [&](int64_t index, int64_t& result) {
      return !__builtin_mul_overflow(index, sequence.step, &result) &&
             !__builtin_add_overflow(result, sequence.start, &result);
    };
    if (!value_at(bounds.start, part.sequence().start) ||
        !value_at(bounds.stop, part.sequence().stop) ||
        __builtin_mul_overflow(sequence.step, bounds.step, &part.sequence().step)) {
      throw TemplateError("integer overflow");
    }
  }
  return part;
}

}  // namespace dinfer::jinja
