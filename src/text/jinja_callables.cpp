#include "text/jinja_callables.h"

#include "text/jinja_attributes.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {

std::optional<Value> MacroObject::attribute(Runtime& runtime, std::string_view name) {
  if (name == "name") return runtime.text(signature_.name);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const auto& parameter : signature_.parameters) {
      names.push_back(runtime.text(parameter.first));
    }
    return runtime.list(std::move(names));
  }
  if (name == "catch_kwargs") return Value(signature_.kwargs >= 0);
  if (name == "catch_varargs") return Value(signature_.varargs >= 0);
  if (name == "caller") return Value(signature_.caller >= 0);
  return std::nullopt;
}

Value MacroObject::call(Runtime& runtime, const Arguments& arguments) {
  Scope& scope = evaluator_.new_scope(scope_);
  bind_special(runtime, arguments, scope);
  bind_parameters(arguments, scope);
  return evaluator_.capture(body_, scope);
}

void MacroObject::bind_parameters(const Arguments& arguments, Scope& scope) {
  const auto& parameters = signature_.parameters;
  const size_t required = parameters.size() - signature_.defaults.size();
  for (size_t i = 0; i < parameters.size(); ++i) {
    const auto& [name, symbol] = parameters[i];
    evaluator_.runtime().charge(arguments.named.size() / 4);
    if (i < arguments.positional.size()) {
      scope.set(symbol, arguments.positional[i]);
    } else if (const Value* value = arguments.find(name)) {
      scope.set(symbol, *value);
    } else if (i >= required) {
      scope.set(symbol, evaluator_.evaluate(*signature_.defaults[i - required], scope));
    } else {
      scope.set(symbol, evaluator_.runtime().undefined("parameter " + repr_of_string(name) +
                                                       " was not provided"));
    }
  }
}

// caller, kwargs and varargs, which take what the parameters leave; without them that is an error.
void MacroObject::bind_special(Runtime& runtime, const Arguments& arguments, Scope& scope) {
  const auto& parameters = signature_.parameters;
  const auto is_parameter = [&](std::string_view name) {
    for (size_t i = arguments.positional.size(); i < parameters.size(); ++i) {
      if (parameters[i].first == name) return true;
    }
    return false;
  };
  Dict* rest = runtime.dict();
  Value caller = runtime.undefined("No caller defined");
  for (const auto& [name, value] : arguments.named) {
    runtime.charge(parameters.size() / 4);
    if (is_parameter(name)) continue;
    if (name == "caller" && signature_.caller >= 0) {
      if (!value.is_none()) caller = value;
    } else if (signature_.kwargs >= 0) {
      runtime.set(*rest, runtime.text(name), value);
    } else {
      throw TemplateError("macro " + repr_of_string(signature_.name) +
                          " takes no keyword argument " + repr_of_string(name));
    }
  }
  if (signature_.caller >= 0) scope.set(signature_.caller, caller);
  if (signature_.kwargs >= 0) scope.set(signature_.kwargs, Value(rest));
  const size_t used = std::min(parameters.size(), arguments.positional.size());
  if (signature_.varargs >= 0) {
    const auto begin = arguments.positional.begin() + static_cast<std::ptrdiff_t>(used);
    scope.set(signature_.varargs,
              runtime.tuple(std::vector<Value>(begin, arguments.positional.end())));
  } else if (used < arguments.positional.size()) {
    throw TemplateError("macro " + repr_of_string(signature_.name) + " takes not more than " +
                        std::to_string(parameters.size()) + " argument(s)");
  }
}

Loop::Loop(Evaluator& evaluator, const For& node, Scope& outer, const Value& iterable,
           int64_t depth0)
    : evaluator_(evaluator),
      node_(node),
      outer_(outer),
      filtered_(node.filter != nullptr),
      depth0_(depth0) {
  if (iterable.is(Kind::sequence) && iterable.sequence().kind == SequenceKind::iterator) {
    iterator_ = &iterable.sequence();
    return;
  }
  items_ = elements(evaluator.runtime(), iterable);
  if (!filtered_) length_ = static_cast<int64_t>(items_.size());
}

std::optional<Value> Loop::pull() {
  for (;;) {
    const std::vector<Value>& items = iterator_ != nullptr ? iterator_->items : items_;
    size_t& at = iterator_ != nullptr ? iterator_->next : at_;
    if (at >= items.size()) return std::nullopt;
    const Value item = items[at++];
    if (!filtered_) return item;
    Scope& scope = evaluator_.new_scope(outer_);
    evaluator_.assign(node_.target, item, scope);
    if (truthy(evaluator_.evaluate(*node_.filter, scope))) return item;
  }
}

const std::optional<Value>& Loop::peek() {
  if (!after_) after_ = pull();
  return after_;
}

bool Loop::advance() {
  std::optional<Value> item = after_ ? after_ : pull();
  after_.reset();
  if (!item) return false;
  ++index0_;
  before_ = current_;
  current_ = item;
  return true;
}

int64_t Loop::length() {
  if (!length_) {
    std::vector<Value> rest;
    while (const std::optional<Value> item = pull()) rest.push_back(*item);
    length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_ ? 1 : 0);
    items_ = std::move(rest);
    at_ = 0;
    iterator_ = nullptr;
    filtered_ = false;
  }
  return *length_;
}

Value Loop::cycle(const std::vector<Value>& values) const {
  if (values.empty()) throw TemplateError("no items for cycling given");
  return values[static_cast<size_t>(index0_) % values.size()];
}

bool Loop::changed(const std::vector<Value>& values) {
  Runtime& runtime = evaluator_.runtime();
  bool same = last_changed_ && last_changed_->size() == values.size();
  for (size_t i = 0; same && i < values.size(); ++i) {
    same = equal(runtime, (*last_changed_)[i], values[i]);
  }
  if (!same) last_changed_ = values;
  return !same;
}

namespace {

Value loop_cycle(Runtime&, const Value& self, const Bound& arguments) {
  return static_cast<Loop&>(self.object()).cycle(arguments.all.positional);
}

Value loop_changed(Runtime&, const Value& self, const Bound& arguments) {
  return Value(static_cast<Loop&>(self.object()).changed(arguments.all.positional));
}

constexpr Native kLoopMethods[] = {{"cycle", "*", 0, loop_cycle},
                                   {"changed", "*", 0, loop_changed}};

}  // namespace

std::optional<Value> Loop::attribute(Runtime& runtime, std::string_view name) {
  if (name == "index") return Value(index0_ + 1);
  if (name == "index0") return Value(index0_);
  if (name == "first") return Value(index0_ == 0);
  if (name == "last") return Value(!peek().has_value());
  if (name == "length") return Value(length());
  if (name == "revindex") return Value(length() - index0_);
  if (name == "revindex0") return Value(length() - index0_ - 1);
  if (name == "depth") return Value(depth0_ + 1);
  if (name == "depth0") return Value(depth0_);
  if (name == "previtem") {
    return index0_ == 0 ? runtime.undefined("there is no previous item") : *before_;
  }
  if (name == "nextitem") {
    return peek() ? *peek() : runtime.undefined("there is no next item");
  }
  const Native* method = find_native(kLoopMethods, name);
  if (method == nullptr) return std::nullopt;
  return Value(runtime.object<NativeCallable>(*method, Value(this)));
}

Value Loop::call(Runtime&, const Arguments& arguments) {
  if (!node_.recursive) {
    throw TemplateError("The loop must have the 'recursive' marker to be called recursively.");
  }
  if (arguments.positional.size() != 1 || !arguments.named.empty()) {
    throw TemplateError("loop() takes one argument");
  }
  return evaluator_.run_nested_loop(node_, arguments.positional[0], outer_, depth0_ + 1);
}

}  // namespace dinfer::jinja
