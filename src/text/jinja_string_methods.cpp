// Methods of str, https://docs.python.org/3/library/stdtypes.html#string-methods
#include <algorithm>

#include "text/jinja_case.h"
#include "text/jinja_native.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"
#include "text/jinja_split.h"

namespace dinfer::jinja {
namespace {

constexpr size_t kMaxStripped = 1024;  // bytes of the set of characters to strip

template <bool left, bool right>
Value strip_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text& text = self.text();
  std::string_view characters;
  if (arguments.has(0)) characters = arguments.text(0).bytes;
  if (characters.size() > kMaxStripped) throw TemplateError("too many characters to strip");
  const TextSpan rest = strip(text.bytes, arguments.has(0) ? &characters : nullptr, left, right);
  const size_t removed = text.bytes.size() - (rest.end - rest.begin);
  runtime.charge(removed * (1 + characters.size()) / 64);
  return runtime.slice(text, rest.begin, rest.end);
}

// Bounds of self[start:end] in bytes, from arguments `first` and `first + 1`; none where start is
// behind the end.
std::optional<TextSpan> part(Runtime& runtime, const Text& text, const Bound& arguments,
                             size_t first) {
  const auto end_of_text = text.bytes.size();
  if (!arguments.has(first) && !arguments.has(first + 1)) return TextSpan{0, end_of_text};
  runtime.charge_bytes(end_of_text);
  const auto size = static_cast<int64_t>(count_characters(text.bytes));
  if (arguments.integer(first, 0) > size) return std::nullopt;
  const SliceBounds bounds =
      slice_bounds(arguments.value(first), arguments.value(first + 1), Value(), size);
  if (bounds.start > bounds.stop) return std::nullopt;
  return TextSpan{offset_of_character(text.bytes, static_cast<size_t>(bounds.start)),
                  offset_of_character(text.bytes, static_cast<size_t>(bounds.stop))};
}

template <bool at_end>
Value affix_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const auto span = part(runtime, self.text(), arguments, 1);
  const Value wanted = arguments.value(0);
  const auto matches = [&](const Value& affix) {
    require_defined(affix);
    if (!affix.is_string()) {
      throw TemplateError("first argument must be str or a tuple of str, not " +
                          std::string(type_name(affix)));
    }
    if (!span) return false;
    runtime.charge_bytes(affix.view().size());
    const std::string_view text = self.view().substr(span->begin, span->end - span->begin);
    return at_end ? text.ends_with(affix.view()) : text.starts_with(affix.view());
  };
  if (!wanted.is(Kind::sequence) || wanted.sequence().kind != SequenceKind::tuple) {
    return Value(matches(wanted));
  }
  const auto& all = wanted.sequence().items;
  return Value(std::any_of(all.begin(), all.end(), matches));
}

// Index in characters of the argument in the text, -1: none.
int64_t find(Runtime& runtime, const Text& text, const Bound& arguments, bool last) {
  const std::string& wanted = arguments.text(0).bytes;
  const auto span = part(runtime, text, arguments, 1);
  if (!span) return -1;
  runtime.charge_bytes(4 * text.bytes.size());
  const std::string_view within = std::string_view(text.bytes).substr(0, span->end);
  const size_t place =
      last ? find_last(within, wanted, span->end) : find_first(within, wanted, span->begin);
  if (place == std::string_view::npos || place < span->begin) return -1;
  return static_cast<int64_t>(count_characters(within.substr(0, place)));
}

template <bool last, bool must>
Value find_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const int64_t place = find(runtime, self.text(), arguments, last);
  if (must && place < 0) throw TemplateError("substring not found");
  return Value(place);
}

Value count_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& wanted = arguments.text(0).bytes;
  const auto span = part(runtime, self.text(), arguments, 1);
  if (!span) return Value(int64_t{0});
  runtime.charge_bytes(self.view().size());
  const std::string_view within = self.view().substr(span->begin, span->end - span->begin);
  if (wanted.empty()) return Value(static_cast<int64_t>(count_characters(within)) + 1);
  int64_t count = 0;
  for (size_t at = 0; (at = find_first(within, wanted, at)) != std::string_view::npos;) {
    ++count;
    at += wanted.size();
  }
  return Value(count);
}

Value replace_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  arguments.text(0);
  arguments.text(1);
  return replace(runtime, self, arguments.value(0), arguments.value(1), arguments.integer(2, -1));
}

Value split_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (arguments.has(0)) arguments.text(0);
  return runtime.list(split(runtime, self.text(), arguments.value(0), arguments.integer(1, -1)));
}

Value rsplit_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  if (arguments.has(0)) arguments.text(0);
  return runtime.list(
      split_from_right(runtime, self.text(), arguments.value(0), arguments.integer(1, -1)));
}

Value splitlines_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  return runtime.list(split_lines(runtime, self.text(), arguments.flag(0)));
}

template <bool last>
Value partition_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text& text = self.text();
  const std::string& separator = arguments.text(0).bytes;
  if (separator.empty()) throw TemplateError("empty separator");
  runtime.charge_bytes(2 * text.bytes.size());
  const size_t place = last ? find_last(text.bytes, separator, text.bytes.size())
                            : find_first(text.bytes, separator);
  const Value empty = runtime.text("");
  if (place == std::string::npos) {
    return last ? runtime.tuple({empty, empty, self}) : runtime.tuple({self, empty, empty});
  }
  return runtime.tuple({runtime.slice(text, 0, place), arguments.value(0),
                        runtime.slice(text, place + separator.size(), text.bytes.size())});
}

Value removeprefix_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& prefix = arguments.text(0).bytes;
  const size_t removed = self.view().starts_with(prefix) ? prefix.size() : 0;
  return runtime.slice(self.text(), removed, self.view().size());
}

Value removesuffix_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::string& suffix = arguments.text(0).bytes;
  const size_t removed = self.view().ends_with(suffix) ? suffix.size() : 0;
  return runtime.slice(self.text(), 0, self.view().size() - removed);
}

Value join_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const std::vector<Value> items = elements(runtime, arguments.value(0));
  for (size_t i = 0; i < items.size(); ++i) {
    if (!items[i].is_string()) {
      throw TemplateError("sequence item " + std::to_string(i) + ": expected str instance, " +
                          std::string(type_name(items[i])) + " found");
    }
  }
  return join(runtime, self.text(), items);
}

template <Casing casing>
Value case_method(Runtime& runtime, const Value& self, const Bound&) {
  return change_case(runtime, self.text(), casing);
}

template <CharacterTest test>
Value character_method(Runtime& runtime, const Value& self, const Bound&) {
  runtime.charge_bytes(4 * self.view().size());
  return Value(all_characters(self.view(), test));
}

template <char align>
Value pad_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  std::string_view fill = " ";
  if (arguments.has(1)) fill = arguments.text(1).bytes;
  if (count_characters(fill) != 1) {
    throw TemplateError("The fill character must be exactly one character long");
  }
  return pad(runtime, self.text(), arguments.integer(0, 0), fill, align);
}

Value zfill_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Text& text = self.text();
  const size_t sign = text.bytes.starts_with('-') || text.bytes.starts_with('+') ? 1 : 0;
  const auto size = static_cast<int64_t>(count_characters(text.bytes));
  TextBuilder out = runtime.builder();
  out.add(text, 0, sign);
  const int64_t width = arguments.integer(0, 0);
  out.fill(width > size ? static_cast<size_t>(width - size) : 0, "0");
  out.add(text, sign, text.bytes.size());
  return runtime.text(out);
}

Value format_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  return format_braces(runtime, self.text(), arguments.all);
}

Value format_map_method(Runtime& runtime, const Value& self, const Bound& arguments) {
  const Value map = arguments.value(0);
  if (!map.is(Kind::dict)) throw TemplateError("format_map() takes a mapping");
  Arguments named;
  for (const auto& [key, value] : map.dict().entries) {
    if (key.is_string()) named.named.emplace_back(key.view(), value);
  }
  return format_braces(runtime, self.text(), named);
}

Value unsupported_method(Runtime&, const Value&, const Bound&) {
  throw TemplateError("this method of str is not supported");
}

constexpr Native kMethods[] = {
    {"capitalize", "", 0, case_method<Casing::capitalize>},
    {"casefold", "", 0, case_method<Casing::fold>},
    {"center", "width fillchar", 1, pad_method<'^'>},
    {"count", "sub start end", 1, count_method},
    {"encode", "*", 0, unsupported_method},
    {"endswith", "suffix start end", 1, affix_method<true>},
    {"expandtabs", "*", 0, unsupported_method},
    {"find", "sub start end", 1, find_method<false, false>},
    {"format", "*", 0, format_method},
    {"format_map", "mapping", 1, format_map_method},
    {"index", "sub start end", 1, find_method<false, true>},
    {"isalnum", "", 0, character_method<CharacterTest::alphanumeric>},
    {"isalpha", "", 0, character_method<CharacterTest::alphabetic>},
    {"isascii", "", 0, character_method<CharacterTest::ascii>},
    {"isdecimal", "", 0, character_method<CharacterTest::decimal>},
    {"isdigit", "", 0, character_method<CharacterTest::digit>},
    {"isidentifier", "*", 0, unsupported_method},
    {"islower", "", 0, character_method<CharacterTest::lower>},
    {"isnumeric", "", 0, character_method<CharacterTest::numeric>},
    {"isprintable", "*", 0, unsupported_method},
    {"isspace", "", 0, character_method<CharacterTest::space>},
    {"istitle", "*", 0, unsupported_method},
    {"isupper", "", 0, character_method<CharacterTest::upper>},
    {"join", "iterable", 1, join_method},
    {"ljust", "width fillchar", 1, pad_method<'<'>},
    {"lower", "", 0, case_method<Casing::lower>},
    {"lstrip", "chars", 0, strip_method<true, false>},
    {"maketrans", "*", 0, unsupported_method},
    {"partition", "sep", 1, partition_method<false>},
    {"removeprefix", "prefix", 1, removeprefix_method},
    {"removesuffix", "suffix", 1, removesuffix_method},
    {"replace", "old new count", 2, replace_method},
    {"rfind", "sub start end", 1, find_method<true, false>},
    {"rindex", "sub start end", 1, find_method<true, true>},
    {"rjust", "width fillchar", 1, pad_method<'>'>},
    {"rpartition", "sep", 1, partition_method<true>},
    {"rsplit", "sep maxsplit", 0, rsplit_method},
    {"rstrip", "chars", 0, strip_method<false, true>},
    {"split", "sep maxsplit", 0, split_method},
    {"splitlines", "keepends", 0, splitlines_method},
    {"startswith", "prefix start end", 1, affix_method<false>},
    {"strip", "chars", 0, strip_method<true, true>},
    {"swapcase", "", 0, case_method<Casing::swap>},
    {"title", "", 0, case_method<Casing::title>},
    {"translate", "*", 0, unsupported_method},
    {"upper", "", 0, case_method<Casing::upper>},
    {"zfill", "width", 1, zfill_method},
};

}  // namespace

const Native* find_string_method(std::string_view name) { return find_native(kMethods, name); }

}  // namespace dinfer::jinja
