#pragma once

#include <cstdint>
#include <deque>
#include <map>

#include "text/jinja_syntax.h"

namespace dinfer::jinja {

// Variables of one block of the template; those of the blocks around it shine through.
class Scope {
 public:
  explicit Scope(Scope* outer) : outer_(outer) {}

  const Value* find(Symbol symbol) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer_) {
      if (const Value* value = scope->own(symbol)) return value;
    }
    return nullptr;
  }
  void set(Symbol symbol, const Value& value) {
    if (Value* present = own(symbol)) {
      *present = value;
      return;
    }
    variables_.emplace_back(symbol, value);
    if (!index_.empty()) {
      index_.emplace(symbol, variables_.size() - 1);
    } else if (variables_.size() > kLinearSearch) {
      for (size_t i = 0; i < variables_.size(); ++i) index_.emplace(variables_[i].first, i);
    }
  }

 private:
  static constexpr size_t kLinearSearch = 32;

  Value* own(Symbol symbol) {
    if (!index_.empty()) {
      const auto place = index_.find(symbol);
      return place == index_.end() ? nullptr : &variables_[place->second].second;
    }
    for (auto& [name, value] : variables_) {
      if (name == symbol) return &value;
    }
    return nullptr;
  }
  const Value* own(Symbol symbol) const { return const_cast<Scope*>(this)->own(symbol); }

  Scope* outer_;
  std::vector<std::pair<Symbol, Value>> variables_;
  std::map<Symbol, size_t> index_;  // of variables_, once there are many
};

// Runs a parsed template.
class Evaluator {
 public:
  Evaluator(const Program& program, Runtime& runtime)
      : program_(program), runtime_(runtime), output_(runtime.builder()) {}

  // The text that the template makes of the variables.
  Text render(const std::vector<std::pair<Symbol, Value>>& variables);

  Runtime& runtime() { return runtime_; }
  Scope& new_scope(Scope& outer);
  Value evaluate(const Expression& expression, Scope& scope);
  void assign(const Target& target, const Value& value, Scope& scope);
  // What `body` writes.
  Value capture(const Body& body, Scope& scope);
  // What a loop's body writes for the items of another iterable, `depth0` levels down.
  Value run_nested_loop(const For& node, const Value& iterable, Scope& outer, int64_t depth0);

 private:
  enum class Flow : uint8_t { next, broke, continued };

  Flow execute(const Body& body, Scope& scope);
  Flow execute(const If& node, Scope& scope);
  Flow execute(const For& node, Scope& scope);
  Flow execute(const With& node, Scope& scope);
  void execute(const SetBlock& node, Scope& scope);
  void execute(const CallBlock& node, Scope& scope);
  void execute(const FilterBlock& node, Scope& scope);
  void run_loop(const For& node, const Value& iterable, Scope& outer, int64_t depth0);
  void set_attribute(const Target& target, const Value& value, Scope& scope);

  Value evaluate(const Literal& node, Scope& scope);
  Value evaluate(const Variable& node, Scope& scope);
  Value evaluate(const ListDisplay& node, Scope& scope);
  Value evaluate(const DictDisplay& node, Scope& scope);
  Value evaluate(const AttributeAccess& node, Scope& scope);
  Value evaluate(const ItemAccess& node, Scope& scope);
  Value evaluate(const SliceAccess& node, Scope& scope);
  Value evaluate(const Call& node, Scope& scope);
  Value evaluate(const FilterCall& node, Scope& scope);
  Value evaluate(const TestCall& node, Scope& scope);
  Value evaluate(const Unary& node, Scope& scope);
  Value evaluate(const Arithmetic& node, Scope& scope);
  Value evaluate(const Concatenation& node, Scope& scope);
  Value evaluate(const Comparison& node, Scope& scope);
  Value evaluate(const Logical& node, Scope& scope);
  Value evaluate(const Conditional& node, Scope& scope);
  Arguments evaluate(const CallArguments& node, Scope& scope);
  // A chain of filters; the innermost is applied to `text` if it has no input of its own.
  Value apply_filters(const Expression& expression, const Value& text, Scope& scope);
  Value apply_filter(const FilterCall& node, const Value& input, Scope& scope);

  const Program& program_;
  Runtime& runtime_;
  std::deque<Scope> scopes_;  // all, until the end: macros keep those they were made in
  TextBuilder output_;        // of the innermost capture
};

}  // namespace dinfer::jinja
