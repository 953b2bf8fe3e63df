#pragma once

#include <cstdint>

#include "text/jinja_evaluator.h"

// Objects that run parts of the template when they are used.
namespace dinfer::jinja {

// A macro, or the body of a call block.
class MacroObject final : public Object {
 public:
  MacroObject(Evaluator& evaluator, const Signature& signature, const Body& body, Scope& scope)
      : evaluator_(evaluator), signature_(signature), body_(body), scope_(scope) {}
  std::string_view type_name() const override { return "Macro"; }
  bool callable() const override { return true; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override;
  Value call(Runtime& runtime, const Arguments& arguments) override;

 private:
  void bind_parameters(const Arguments& arguments, Scope& scope);
  void bind_special(Runtime& runtime, const Arguments& arguments, Scope& scope);

  Evaluator& evaluator_;
  const Signature& signature_;
  const Body& body_;
  Scope& scope_;
};

// The variable `loop` of a for block, and the walk through its items.
class Loop final : public Object {
 public:
  Loop(Evaluator& evaluator, const For& node, Scope& outer, const Value& iterable, int64_t depth0);
  std::string_view type_name() const override { return "LoopContext"; }
  std::optional<Value> attribute(Runtime& runtime, std::string_view name) override;
  bool callable() const override { return node_.recursive; }
  Value call(Runtime& runtime, const Arguments& arguments) override;

  bool advance();  // to the next item; false: there is none
  const Value& current() const { return *current_; }
  Value cycle(const std::vector<Value>& values) const;
  bool changed(const std::vector<Value>& values);

 private:
  std::optional<Value> pull();  // the next item that passes the filter
  const std::optional<Value>& peek();
  int64_t length();

  Evaluator& evaluator_;
  const For& node_;
  Scope& outer_;
  std::vector<Value> items_;  // of the iterable, unless that is an iterator
  Sequence* iterator_ = nullptr;
  bool filtered_;
  size_t at_ = 0;  // in items_
  int64_t index0_ = -1;
  const int64_t depth0_;
  std::optional<int64_t> length_;
  std::optional<Value> before_, current_, after_;
  std::optional<std::vector<Value>> last_changed_;
};

}  // namespace dinfer::jinja
