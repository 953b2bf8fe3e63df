// The functions that every template has, and the objects that they make.
#include <ctime>

#include "text/jinja_attributes.h"
#include "text/jinja_operations.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

constexpr int64_t kMaxRange = 100'000;  // as in jinja2's sandbox

Value range_function(Runtime& runtime, const Value&, const Bound& arguments) {
  const bool single = arguments.given[1] == nullptr;
  const auto integer = [&](size_t i) {
    return to_integer(arguments.value(i), "an argument of range");
  };
  Sequence range;
  range.kind = SequenceKind::range;
  range.start = single ? 0 : integer(0);
  range.stop = single ? integer(0) : integer(1);
  range.step = arguments.given[2] == nullptr ? 1 : integer(2);
  if (range.step == 0) throw TemplateError("range() arg 3 must not be zero");
  for (int64_t i = range.start; range.step > 0 ? i < range.stop : i > range.stop;) {
    if (static_cast<int64_t>(range.items.size()) >= kMaxRange) {
      throw TemplateError("Range too big. The sandbox blocks ranges larger than MAX_RANGE (" +
                          std::to_string(kMaxRange) + ").");
    }
    range.items.emplace_back(i);
    if (__builtin_add_overflow(i, range.step, &i)) break;
  }
  const Value value = runtime.sequence(SequenceKind::range, std::move(range.items));
  value.sequence().start = range.start;
  value.sequence().stop = range.stop;
  value.sequence().step = range.step;
  return value;
}

Dict& make_dict(Runtime& runtime, const Bound& arguments) {
  Dict* dict = runtime.dict();
  if (arguments.all.positional.size() > 1) {
    throw TemplateError("dict expected at most 1 argument");
  }
  for (const Value& source : arguments.all.positional) {
    require_defined(source);
    if (source.is(Kind::dict)) {
      for (const auto& [key, value] : source.dict().entries) runtime.set(*dict, key, value);
      continue;
    }
    for (const Value& item : elements(runtime, source)) {
      const std::vector<Value> pair = elements(runtime, item);
      if (pair.size() != 2) throw TemplateError("a dict is made of pairs");
      runtime.set(*dict, pair[0], pair[1]);
    }
  }
  for (const auto& [name, value] : arguments.all.named) {
    runtime.set(*dict, runtime.text(name), value);
  }
  return *dict;
}

Value dict_function(Runtime& runtime, const Value&, const Bound& arguments) {
  return Value(&make_dict(runtime, arguments));
}

Value namespace_function(Runtime& runtime, const Value&, const Bound& arguments) {
  return Value(runtime.object<Namespace>(make_dict(runtime, arguments)));
}

class Joiner final : public Object {
 public:
  explicit Joiner(Value separator) : separator_(separator) {}
  std::string_view type_name() const override { return "Joiner"; }
  bool callable() const override { return true; }
  Value call(Runtime& runtime, const Arguments&) override {
    if (used_) return separator_;
    used_ = true;
    return runtime.text("");
  }

 private:
  const Value separator_;
  bool used_ = false;
};

Value joiner_function(Runtime& runtime, const Value&, const Bound& arguments) {
  return Value(runtime.object<Joiner>(arguments.value(0, runtime.text(", "))));
}

class Cycler final : public Object {
 public:
  explicit Cycler(std::vector<Value> items) : items_(std::move(items)) {}
  std::string_view type_name() const override { return "Cycler"; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override;

  Value current() const { return items_[at_]; }
  void advance() { at_ = (at_ + 1) % items_.size(); }
  void reset() { at_ = 0; }

 private:
  const std::vector<Value> items_;
  size_t at_ = 0;
};

Value cycler_next(Runtime&, const Value& self, const Bound&) {
  auto& cycler = static_cast<Cycler&>(self.object());
  const Value current = cycler.current();
  cycler.advance();
  return current;
}

Value cycler_reset(Runtime&, const Value& self, const Bound&) {
  static_cast<Cycler&>(self.object()).reset();
  return {};
}

constexpr Native kCyclerMethods[] = {{"next", "", 0, cycler_next}, {"reset", "", 0, cycler_reset}};

std::optional<Value> Cycler::attribute(Runtime& runtime, std::string_view name) {
  if (name == "current") return current();
  const Native* method = find_native(kCyclerMethods, name);
  if (method == nullptr) return std::nullopt;
  return Value(runtime.object<NativeCallable>(*method, Value(this)));
}

Value cycler_function(Runtime& runtime, const Value&, const Bound& arguments) {
  if (arguments.all.positional.empty()) {
    throw TemplateError("at least one item has to be provided");
  }
  return Value(runtime.object<Cycler>(arguments.all.positional));
}

Value raise_exception_function(Runtime& runtime, const Value&, const Bound& arguments) {
  throw TemplateError(to_text(runtime, arguments.value(0)).text().bytes);
}

// What Python's datetime puts in place of %f, %z and %Z for a time without a zone and without
// microseconds; the other directives are strftime's.
std::string expand_directives(std::string_view format) {
  std::string expanded;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      expanded += format[i];
      continue;
    }
    const char directive = format[++i];
    if (directive == 'f') {
      expanded += "000000";
    } else if (directive != 'z' && directive != 'Z') {
      expanded += {'%', directive};
    }
  }
  return expanded;
}

Value strftime_now_function(Runtime& runtime, const Value&, const Bound& arguments) {
  constexpr size_t kMaxFormat = 1000;
  const std::string& format = arguments.text(0).bytes;
  if (format.size() > kMaxFormat || format.find('\0') != std::string::npos) {
    throw TemplateError("strftime_now takes at most 1000 characters, and no zero");
  }
  const auto now = static_cast<time_t>(runtime.now());
  tm local{};
  if (localtime_r(&now, &local) == nullptr) throw TemplateError("the time is out of range");
  // The full stop makes sure that the result is not empty, which would look like a failure.
  const std::string expanded = expand_directives(format) + ".";
  std::vector<char> buffer(64 * expanded.size());
  const size_t size = strftime(buffer.data(), buffer.size(), expanded.c_str(), &local);
  if (size == 0) throw TemplateError("strftime_now makes too long a text");
  return runtime.text({buffer.data(), size - 1}, arguments.text(0).any_data());
}

constexpr Native kFunctions[] = {
    {"cycler", "*", 0, cycler_function},
    {"dict", "*", 0, dict_function},
    {"joiner", "sep", 0, joiner_function},
    {"namespace", "*", 0, namespace_function},
    {"raise_exception", "message", 1, raise_exception_function},
    {"range", "start stop step", 1, range_function},
    {"strftime_now", "format", 1, strftime_now_function},
};

}  // namespace

std::span<const Native> global_functions() { return kFunctions; }

}  // namespace dinfer::jinja
