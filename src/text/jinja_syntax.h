#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "text/jinja_native.h"
#include "text/jinja_operations.h"

// The syntax tree of a template.
namespace dinfer::jinja {

struct Expression;
struct Statement;
using ExpressionPtr = std::unique_ptr<Expression>;
using Body = std::vector<std::unique_ptr<Statement>>;
using Symbol = int;  // of a variable; index of Program::symbols

struct CallArguments {
  std::vector<ExpressionPtr> positional;
  std::vector<std::pair<std::string, ExpressionPtr>> named;
  ExpressionPtr sequence;  // *sequence, or null
  ExpressionPtr mapping;   // **mapping, or null
};

struct Literal {
  Value value;
};
struct Variable {
  Symbol symbol;
};
struct ListDisplay {
  std::vector<ExpressionPtr> items;
  bool tuple;
};
struct DictDisplay {
  std::vector<std::pair<ExpressionPtr, ExpressionPtr>> entries;
};
struct AttributeAccess {
  ExpressionPtr object;
  std::string name;
};
struct ItemAccess {
  ExpressionPtr object, key;
};
struct SliceAccess {
  ExpressionPtr object, start, stop, step;  // all but the object may be null
};
struct Call {
  ExpressionPtr callee;
  CallArguments arguments;
};
// `input` is null in filter and set blocks: their text. `native` is null for a filter that does not
// exist but stands where jinja2 finds that out at run time only.
struct FilterCall {
  ExpressionPtr input;
  std::string name;
  const Native* native;
  CallArguments arguments;
};
struct TestCall {
  ExpressionPtr input;
  std::string name;
  const Native* native;
  CallArguments arguments;
};
enum class UnaryOp : uint8_t { logical_not, minus, plus };
struct Unary {
  UnaryOp op;
  ExpressionPtr operand;
};
// first op operand op operand ..., from left to right.
struct Arithmetic {
  ExpressionPtr first;
  std::vector<std::pair<ArithmeticOp, ExpressionPtr>> rest;
};
struct Concatenation {
  std::vector<ExpressionPtr> parts;
};
struct Comparison {
  ExpressionPtr first;
  std::vector<std::pair<CompareOp, ExpressionPtr>> rest;
};
struct Logical {
  bool any;  // or; else and
  std::vector<ExpressionPtr> operands;
};
struct Conditional {
  ExpressionPtr test, then, otherwise;  // `otherwise` may be null
};

struct Expression {
  int line;
  std::variant<Literal, Variable, ListDisplay, DictDisplay, AttributeAccess, ItemAccess,
               SliceAccess, Call, FilterCall, TestCall, Unary, Arithmetic, Concatenation,
               Comparison, Logical, Conditional>
      node;
};

// What an assignment assigns to: a variable, an attribute of a namespace, or a tuple of these.
struct Target {
  int line = 0;
  Symbol symbol = -1;
  std::string attribute;  // of the namespace `symbol`; empty: the variable
  std::vector<Target> items;
  bool tuple = false;
};

struct Signature {
  std::string name;
  std::vector<std::pair<std::string, Symbol>> parameters;
  std::vector<ExpressionPtr> defaults;            // of the last parameters
  Symbol caller = -1, kwargs = -1, varargs = -1;  // -1: the body does not use them
};

struct TextOutput {
  const Text* text;
};
struct Print {
  ExpressionPtr value;
};
struct If {
  std::vector<std::pair<ExpressionPtr, Body>> branches;
  Body otherwise;
};
struct For {
  Target target;
  ExpressionPtr iterable, filter;  // the filter may be null
  bool recursive;
  Body body, otherwise;
};
struct Set {
  Target target;
  ExpressionPtr value;
};
struct SetBlock {
  Target target;
  ExpressionPtr filter;  // a chain of FilterCalls on the text of the body, or null
  Body body;
};
struct With {
  std::vector<std::pair<Target, ExpressionPtr>> variables;
  Body body;
};
struct Macro {
  Symbol symbol;
  Signature signature;
  Body body;
};
struct CallBlock {
  Signature signature;
  ExpressionPtr call;
  Body body;
};
struct FilterBlock {
  ExpressionPtr filter;
  Body body;
};
// A scope of its own: generation and block tags.
struct Scoped {
  Body body;
};
struct Break {};
struct Continue {};

struct Statement {
  int line;
  std::variant<TextOutput, Print, If, For, Set, SetBlock, With, Macro, CallBlock, FilterBlock,
               Scoped, Break, Continue>
      node;
};

// A parsed template.
struct Program {
  Heap literals;
  std::vector<std::string> symbols;  // names of the variables
  Symbol loop = -1;                  // that of the variable `loop`
  Body body;
};

}  // namespace dinfer::jinja
