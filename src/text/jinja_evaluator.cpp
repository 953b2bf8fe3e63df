#include "text/jinja_evaluator.h"

#include "text/jinja_attributes.h"
#include "text/jinja_callables.h"
#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

template <class... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};
template <class... Visitors>
Overloaded(Visitors...) -> Overloaded<Visitors...>;  // clang before 17 does not deduce it

}  // namespace

Text Evaluator::render(const std::vector<std::pair<Symbol, Value>>& variables) {
  Scope& context = scopes_.emplace_back(nullptr);
  for (const auto& [symbol, value] : variables) context.set(symbol, value);
  execute(program_.body, new_scope(context));
  return output_.take();
}

Scope& Evaluator::new_scope(Scope& outer) {
  runtime_.charge(1);
  return scopes_.emplace_back(&outer);
}

Value Evaluator::capture(const Body& body, Scope& scope) {
  TextBuilder outside = std::exchange(output_, runtime_.builder());
  execute(body, scope);
  return runtime_.text(std::exchange(output_, std::move(outside)).take());
}

Value Evaluator::run_nested_loop(const For& node, const Value& iterable, Scope& outer,
                                 int64_t depth0) {
  TextBuilder outside = std::exchange(output_, runtime_.builder());
  run_loop(node, iterable, outer, depth0);
  return runtime_.text(std::exchange(output_, std::move(outside)).take());
}

Evaluator::Flow Evaluator::execute(const Body& body, Scope& scope) {
  const Runtime::Nesting nesting(runtime_);
  const auto run = Overloaded{
      [&](const TextOutput& node) {
        runtime_.charge_bytes(node.text->bytes.size());
        output_.add(*node.text);
        return Flow::next;
      },
      [&](const Print& node) {
        print(runtime_, output_, evaluate(*node.value, scope));
        return Flow::next;
      },
      [&](const Set& node) {
        assign(node.target, evaluate(*node.value, scope), scope);
        return Flow::next;
      },
      [&](const Macro& node) {
        scope.set(node.symbol,
                  Value(runtime_.object<MacroObject>(*this, node.signature, node.body, scope)));
        return Flow::next;
      },
      [&](const Scoped& node) { return execute(node.body, new_scope(scope)); },
      [](const Break&) { return Flow::broke; },
      [](const Continue&) { return Flow::continued; },
      [&](const If& node) { return execute(node, scope); },
      [&](const For& node) { return execute(node, scope); },
      [&](const With& node) { return execute(node, scope); },
      [&](const auto& node) {
        execute(node, scope);
        return Flow::next;
      },
  };
  for (const auto& statement : body) {
    runtime_.charge(1);
    runtime_.at_line(statement->line);
    const Flow flow = std::visit(run, statement->node);
    if (flow != Flow::next) return flow;
  }
  return Flow::next;
}

Evaluator::Flow Evaluator::execute(const If& node, Scope& scope) {
  for (const auto& [test, body] : node.branches) {
    if (truthy(evaluate(*test, scope))) return execute(body, scope);
  }
  return execute(node.otherwise, scope);
}

Evaluator::Flow Evaluator::execute(const For& node, Scope& scope) {
  run_loop(node, evaluate(*node.iterable, scope), scope, 0);
  return Flow::next;
}

void Evaluator::run_loop(const For& node, const Value& iterable, Scope& outer, int64_t depth0) {
  Loop& loop = *runtime_.object<Loop>(*this, node, outer, iterable, depth0);
  bool empty = true;
  while (loop.advance()) {
    Scope& scope = new_scope(outer);
    scope.set(program_.loop, Value(&loop));
    assign(node.target, loop.current(), scope);
    const Flow flow = execute(node.body, scope);
    if (flow == Flow::next) empty = false;  // as jinja2 has it: break and continue do not count
    if (flow == Flow::broke) break;
  }
  if (empty) execute(node.otherwise, new_scope(outer));
}

Evaluator::Flow Evaluator::execute(const With& node, Scope& scope) {
  Scope& inner = new_scope(scope);
  for (const auto& [target, value] : node.variables) {
    assign(target, evaluate(*value, scope), inner);
  }
  return execute(node.body, inner);
}

void Evaluator::execute(const SetBlock& node, Scope& scope) {
  Value text = capture(node.body, new_scope(scope));
  if (node.filter) text = apply_filters(*node.filter, text, scope);
  assign(node.target, text, scope);
}

void Evaluator::execute(const FilterBlock& node, Scope& scope) {
  Scope& inner = new_scope(scope);
  const Value text = capture(node.body, inner);
  print(runtime_, output_, apply_filters(*node.filter, text, inner));
}

void Evaluator::execute(const CallBlock& node, Scope& scope) {
  const auto& call_node = std::get<Call>(node.call->node);
  const Value callee = evaluate(*call_node.callee, scope);
  Arguments arguments = evaluate(call_node.arguments, scope);
  arguments.named.emplace_back(
      "caller", Value(runtime_.object<MacroObject>(*this, node.signature, node.body, scope)));
  print(runtime_, output_, call(runtime_, callee, arguments));
}

void Evaluator::assign(const Target& target, const Value& value, Scope& scope) {
  if (!target.tuple) {
    if (!target.attribute.empty()) return set_attribute(target, value, scope);
    return scope.set(target.symbol, value);
  }
  const std::vector<Value> items = elements(runtime_, value);
  if (items.size() != target.items.size()) {
    throw TemplateError("cannot unpack " + std::to_string(items.size()) + " values into " +
                        std::to_string(target.items.size()) + " variables");
  }
  for (size_t i = 0; i < items.size(); ++i) assign(target.items[i], items[i], scope);
}

void Evaluator::set_attribute(const Target& target, const Value& value, Scope& scope) {
  const Value* variable = scope.find(target.symbol);
  Namespace* space = variable != nullptr && variable->is(Kind::object)
                         ? dynamic_cast<Namespace*>(&variable->object())
                         : nullptr;
  if (space == nullptr) throw TemplateError("cannot assign attribute on non-namespace object");
  space->set(runtime_, runtime_.text(target.attribute), value);
}

// ---- expressions

Value Evaluator::evaluate(const Expression& expression, Scope& scope) {
  const Runtime::Nesting nesting(runtime_);
  runtime_.charge(1);
  runtime_.at_line(expression.line);
  return std::visit([&](const auto& node) { return evaluate(node, scope); }, expression.node);
}

Value Evaluator::evaluate(const Literal& node, Scope&) { return node.value; }

Value Evaluator::evaluate(const Variable& node, Scope& scope) {
  const Value* value = scope.find(node.symbol);
  if (value != nullptr) return *value;
  const std::string& name = program_.symbols[static_cast<size_t>(node.symbol)];
  return runtime_.undefined(repr_of_string(name) + " is undefined");
}

Value Evaluator::evaluate(const ListDisplay& node, Scope& scope) {
  std::vector<Value> items;
  items.reserve(node.items.size());
  for (const auto& item : node.items) items.push_back(evaluate(*item, scope));
  return node.tuple ? runtime_.tuple(std::move(items)) : runtime_.list(std::move(items));
}

Value Evaluator::evaluate(const DictDisplay& node, Scope& scope) {
  Dict* dict = runtime_.dict();
  for (const auto& [key, value] : node.entries) {
    const Value name = evaluate(*key, scope);
    runtime_.set(*dict, name, evaluate(*value, scope));
  }
  return Value(dict);
}

Value Evaluator::evaluate(const AttributeAccess& node, Scope& scope) {
  return get_attribute(runtime_, evaluate(*node.object, scope), node.name);
}

Value Evaluator::evaluate(const ItemAccess& node, Scope& scope) {
  const Value object = evaluate(*node.object, scope);
  return get_item(runtime_, object, evaluate(*node.key, scope));
}

Value Evaluator::evaluate(const SliceAccess& node, Scope& scope) {
  const auto part = [&](const ExpressionPtr& bound) {
    return bound ? evaluate(*bound, scope) : Value();
  };
  const Value object = part(node.object);
  const Value start = part(node.start), stop = part(node.stop), step = part(node.step);
  return slice(runtime_, object, start, stop, step);
}

Value Evaluator::evaluate(const Call& node, Scope& scope) {
  const Value callee = evaluate(*node.callee, scope);
  const Arguments arguments = evaluate(node.arguments, scope);
  return call(runtime_, callee, arguments);
}

Arguments Evaluator::evaluate(const CallArguments& node, Scope& scope) {
  Arguments arguments;
  for (const auto& value : node.positional) arguments.positional.push_back(evaluate(*value, scope));
  for (const auto& [name, value] : node.named) {
    arguments.named.emplace_back(name, evaluate(*value, scope));
  }
  if (node.sequence) {
    const Value sequence = evaluate(*node.sequence, scope);
    for (const Value& item : elements(runtime_, sequence)) arguments.positional.push_back(item);
  }
  if (node.mapping) {
    const Value mapping = evaluate(*node.mapping, scope);
    if (!mapping.is(Kind::dict)) throw TemplateError("argument after ** must be a mapping");
    for (const auto& [name, value] : mapping.dict().entries) {
      if (!name.is_string()) throw TemplateError("keywords must be strings");
      if (arguments.find(name.view()) != nullptr) {
        throw TemplateError("got multiple values for keyword argument " +
                            repr_of_string(name.view()));
      }
      runtime_.charge(1 + arguments.named.size() / 4);  // for the search
      arguments.named.emplace_back(name.view(), value);
    }
  }
  return arguments;
}

Value Evaluator::evaluate(const FilterCall& node, Scope& scope) {
  return apply_filter(node, evaluate(*node.input, scope), scope);
}

Value Evaluator::apply_filter(const FilterCall& node, const Value& input, Scope& scope) {
  if (node.native == nullptr) throw TemplateError("No filter named '" + node.name + "' found.");
  return invoke(runtime_, *node.native, input, evaluate(node.arguments, scope));
}

Value Evaluator::apply_filters(const Expression& expression, const Value& text, Scope& scope) {
  const Runtime::Nesting nesting(runtime_);
  const auto& node = std::get<FilterCall>(expression.node);
  return apply_filter(node, node.input ? apply_filters(*node.input, text, scope) : text, scope);
}

Value Evaluator::evaluate(const TestCall& node, Scope& scope) {
  const Value input = evaluate(*node.input, scope);
  if (node.native == nullptr) throw TemplateError("No test named '" + node.name + "' found.");
  return invoke(runtime_, *node.native, input, evaluate(node.arguments, scope));
}

Value Evaluator::evaluate(const Unary& node, Scope& scope) {
  const Value operand = evaluate(*node.operand, scope);
  switch (node.op) {
    case UnaryOp::logical_not:
      return Value(!truthy(operand));
    case UnaryOp::minus:
      return negate(operand);
    case UnaryOp::plus:
      break;
  }
  return unary_plus(operand);
}

Value Evaluator::evaluate(const Arithmetic& node, Scope& scope) {
  Value result = evaluate(*node.first, scope);
  for (const auto& [op, operand] : node.rest) {
    result = arithmetic(runtime_, op, result, evaluate(*operand, scope));
  }
  return result;
}

Value Evaluator::evaluate(const Concatenation& node, Scope& scope) {
  TextBuilder text = runtime_.builder();
  for (const auto& part : node.parts) print(runtime_, text, evaluate(*part, scope));
  return runtime_.text(text);
}

Value Evaluator::evaluate(const Comparison& node, Scope& scope) {
  Value left = evaluate(*node.first, scope);
  for (const auto& [op, operand] : node.rest) {
    const Value right = evaluate(*operand, scope);
    if (!compare(runtime_, op, left, right)) return Value(false);
    left = right;
  }
  return Value(true);
}

Value Evaluator::evaluate(const Logical& node, Scope& scope) {
  Value value;
  for (const auto& operand : node.operands) {
    value = evaluate(*operand, scope);
    if (truthy(value) == node.any) break;
  }
  return value;
}

Value Evaluator::evaluate(const Conditional& node, Scope& scope) {
  if (truthy(evaluate(*node.test, scope))) return evaluate(*node.then, scope);
  if (node.otherwise) return evaluate(*node.otherwise, scope);
  return runtime_.undefined(
      "the inline if-expression evaluated to false and no else section was defined.");
}

}  // namespace dinfer::jinja
