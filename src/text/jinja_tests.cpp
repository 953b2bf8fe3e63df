// What may stand behind `is`.
#include "text/jinja_case.h"
#include "text/jinja_native.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

template <CompareOp op>
Value compare_test(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Value(compare(runtime, op, self, arguments.value(0)));
}

bool remainder_is(Runtime& runtime, const Value& value, const Value& divisor, int64_t expected) {
  const Value rest = arithmetic(runtime, ArithmeticOp::modulo, value, divisor);
  return equal(runtime, rest, Value(expected));
}

Value odd(Runtime& runtime, const Value& self, const Bound&) {
  return Value(remainder_is(runtime, self, Value(int64_t{2}), 1));
}

Value even(Runtime& runtime, const Value& self, const Bound&) {
  return Value(remainder_is(runtime, self, Value(int64_t{2}), 0));
}

Value divisibleby(Runtime& runtime, const Value& self, const Bound& arguments) {
  return Value(remainder_is(runtime, self, arguments.value(0), 0));
}

template <Kind kind>
Value kind_test(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(kind));
}

Value defined(Runtime&, const Value& self, const Bound&) { return Value(!self.is_undefined()); }

Value integer(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(Kind::integer) || self.is(Kind::big));
}

Value number(Runtime&, const Value& self, const Bound&) { return Value(self.is_number()); }

template <bool expected>
Value boolean_is(Runtime&, const Value& self, const Bound&) {
  return Value(self.is(Kind::boolean) && self.boolean() == expected);
}

Value sequence(Runtime&, const Value& self, const Bound&) {
  if (!self.is(Kind::sequence)) {
    return Value(self.is_string() || self.is(Kind::dict) || self.is_undefined());
  }
  const SequenceKind kind = self.sequence().kind;
  return Value(kind == SequenceKind::list || kind == SequenceKind::tuple ||
               kind == SequenceKind::range);
}

Value iterable_test(Runtime&, const Value& self, const Bound&) { return Value(iterable(self)); }

Value callable(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_undefined() || (self.is(Kind::object) && self.object().callable()));
}

Value sameas(Runtime&, const Value& self, const Bound& arguments) {
  return Value(self.same(arguments.value(0)));
}

Value escaped(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_string() && self.text().markup);
}

template <CharacterTest test>
Value case_test(Runtime& runtime, const Value& self, const Bound&) {
  const Value text = to_text(runtime, self);
  runtime.charge_bytes(4 * text.view().size());
  return Value(all_characters(text.view(), test));
}

Value filter_exists(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_string() && find_filter(self.view()) != nullptr);
}

Value test_exists(Runtime&, const Value& self, const Bound&) {
  return Value(self.is_string() && find_test(self.view()) != nullptr);
}

constexpr Native kTests[] = {
    {"!=", "other", 1, compare_test<CompareOp::not_equal>},
    {"<", "other", 1, compare_test<CompareOp::less>},
    {"<=", "other", 1, compare_test<CompareOp::less_equal>},
    {"==", "other", 1, compare_test<CompareOp::equal>},
    {">", "other", 1, compare_test<CompareOp::greater>},
    {">=", "other", 1, compare_test<CompareOp::greater_equal>},
    {"boolean", "", 0, kind_test<Kind::boolean>},
    {"callable", "", 0, callable},
    {"defined", "", 0, defined},
    {"divisibleby", "num", 1, divisibleby},
    {"eq", "other", 1, compare_test<CompareOp::equal>},
    {"equalto", "other", 1, compare_test<CompareOp::equal>},
    {"escaped", "", 0, escaped},
    {"even", "", 0, even},
    {"false", "", 0, boolean_is<false>},
    {"filter", "", 0, filter_exists},
    {"float", "", 0, kind_test<Kind::real>},
    {"ge", "other", 1, compare_test<CompareOp::greater_equal>},
    {"greaterthan", "other", 1, compare_test<CompareOp::greater>},
    {"gt", "other", 1, compare_test<CompareOp::greater>},
    {"in", "seq", 1, compare_test<CompareOp::in>},
    {"integer", "", 0, integer},
    {"iterable", "", 0, iterable_test},
    {"le", "other", 1, compare_test<CompareOp::less_equal>},
    {"lessthan", "other", 1, compare_test<CompareOp::less>},
    {"lower", "", 0, case_test<CharacterTest::lower>},
    {"lt", "other", 1, compare_test<CompareOp::less>},
    {"mapping", "", 0, kind_test<Kind::dict>},
    {"ne", "other", 1, compare_test<CompareOp::not_equal>},
    {"none", "", 0, kind_test<Kind::none>},
    {"number", "", 0, number},
    {"odd", "", 0, odd},
    {"sameas", "other", 1, sameas},
    {"sequence", "", 0, sequence},
    {"string", "", 0, kind_test<Kind::string>},
    {"test", "", 0, test_exists},
    {"true", "", 0, boolean_is<true>},
    {"undefined", "", 0, kind_test<Kind::undefined>},
    {"upper", "", 0, case_test<CharacterTest::upper>},
};

}  // namespace

const Native* find_test(std::string_view name) { return find_native(kTests, name); }

}  // namespace dinfer::jinja
