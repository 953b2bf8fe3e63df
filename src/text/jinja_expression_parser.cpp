#include "text/jinja_expression_parser.h"

#include <charconv>
#include <cstdlib>

namespace dinfer::jinja {
namespace {

template <class Node>
ExpressionPtr make(int line, Node node) {
  return std::make_unique<Expression>(Expression{line, std::move(node)});
}

template <class Op>
struct OpName {
  std::string_view text;
  Op op;
};

constexpr OpName<CompareOp> kComparisons[] = {
    {"==", CompareOp::equal},      {"!=", CompareOp::not_equal}, {"<", CompareOp::less},
    {"<=", CompareOp::less_equal}, {">", CompareOp::greater},    {">=", CompareOp::greater_equal},
};
constexpr OpName<ArithmeticOp> kSums[] = {{"+", ArithmeticOp::add}, {"-", ArithmeticOp::subtract}};
constexpr OpName<ArithmeticOp> kProducts[] = {
    {"*", ArithmeticOp::multiply},
    {"/", ArithmeticOp::divide},
    {"//", ArithmeticOp::floor_divide},
    {"%", ArithmeticOp::modulo},
};
constexpr OpName<ArithmeticOp> kPowers[] = {{"**", ArithmeticOp::power}};

template <class Op, size_t n>
const Op* find_op(const OpName<Op> (&table)[n], const Token& token) {
  if (token.kind != TokenKind::op) return nullptr;
  for (const auto& entry : table) {
    if (token.value == entry.text) return &entry.op;
  }
  return nullptr;
}

}  // namespace

void ExpressionParser::fail_at_unknown_native() const {
  if (!unknown_.empty()) throw TemplateError(unknown_.front().message, unknown_.front().line);
}

void ExpressionParser::note_unknown(std::string_view what, const std::string& name, int line) {
  if (!soft_) unknown_.push_back({"No " + std::string(what) + " named '" + name + "'.", line});
}

ExpressionPtr ExpressionParser::parse_expression(bool with_conditional) {
  const Nesting nesting(*this);
  return with_conditional ? parse_conditional() : parse_or();
}

ExpressionPtr ExpressionParser::parse_conditional() {
  const size_t unknown_before = unknown_.size();
  ExpressionPtr value = parse_or();
  const bool was_soft = soft_;
  for (int links = 0; current().is_name("if");) {
    const int line = next().line;
    check_chain(++links);
    unknown_.resize(unknown_before);
    soft_ = true;
    ExpressionPtr test = parse_or();
    ExpressionPtr otherwise = skip_name("else") ? parse_expression() : nullptr;
    value = make(line, Conditional{std::move(test), std::move(value), std::move(otherwise)});
  }
  soft_ = was_soft;
  return value;
}

ExpressionPtr ExpressionParser::parse_or() {
  const int line = current().line;
  ExpressionPtr first = parse_and();
  if (!current().is_name("or")) return first;
  Logical logical{true, {}};
  logical.operands.push_back(std::move(first));
  while (skip_name("or")) logical.operands.push_back(parse_and());
  return make(line, std::move(logical));
}

ExpressionPtr ExpressionParser::parse_and() {
  const int line = current().line;
  ExpressionPtr first = parse_not();
  if (!current().is_name("and")) return first;
  Logical logical{false, {}};
  logical.operands.push_back(std::move(first));
  while (skip_name("and")) logical.operands.push_back(parse_not());
  return make(line, std::move(logical));
}

ExpressionPtr ExpressionParser::parse_not() {
  if (!current().is_name("not")) return parse_comparison();
  const Nesting nesting(*this);
  const int line = next().line;
  return make(line, Unary{UnaryOp::logical_not, parse_not()});
}

ExpressionPtr ExpressionParser::parse_comparison() {
  const int line = current().line;
  Comparison comparison{parse_sum(), {}};
  for (;;) {
    if (const CompareOp* op = find_op(kComparisons, current())) {
      next();
      comparison.rest.emplace_back(*op, parse_sum());
    } else if (skip_name("in")) {
      comparison.rest.emplace_back(CompareOp::in, parse_sum());
    } else if (current().is_name("not") && ahead().is_name("in")) {
      next();
      next();
      comparison.rest.emplace_back(CompareOp::not_in, parse_sum());
    } else {
      break;
    }
  }
  if (comparison.rest.empty()) return std::move(comparison.first);
  return make(line, std::move(comparison));
}

ExpressionPtr ExpressionParser::parse_sum() {
  const int line = current().line;
  Arithmetic sum{parse_concatenation(), {}};
  while (const ArithmeticOp* op = find_op(kSums, current())) {
    next();
    sum.rest.emplace_back(*op, parse_concatenation());
  }
  if (sum.rest.empty()) return std::move(sum.first);
  return make(line, std::move(sum));
}

ExpressionPtr ExpressionParser::parse_concatenation() {
  const int line = current().line;
  ExpressionPtr first = parse_product();
  if (!current().is_op("~")) return first;
  Concatenation concatenation;
  concatenation.parts.push_back(std::move(first));
  while (skip_op("~")) concatenation.parts.push_back(parse_product());
  return make(line, std::move(concatenation));
}

ExpressionPtr ExpressionParser::parse_product() {
  const int line = current().line;
  Arithmetic product{parse_power(), {}};
  while (const ArithmeticOp* op = find_op(kProducts, current())) {
    next();
    product.rest.emplace_back(*op, parse_power());
  }
  if (product.rest.empty()) return std::move(product.first);
  return make(line, std::move(product));
}

ExpressionPtr ExpressionParser::parse_power() {
  const int line = current().line;
  Arithmetic power{parse_unary(), {}};
  while (const ArithmeticOp* op = find_op(kPowers, current())) {
    next();
    power.rest.emplace_back(*op, parse_unary());
  }
  if (power.rest.empty()) return std::move(power.first);
  return make(line, std::move(power));
}

ExpressionPtr ExpressionParser::parse_signed() {
  const int line = current().line;
  if (!current().is_op("-") && !current().is_op("+")) return parse_postfix(parse_primary());
  const Nesting nesting(*this);
  const UnaryOp op = next().value == "-" ? UnaryOp::minus : UnaryOp::plus;
  return parse_postfix(make(line, Unary{op, parse_signed()}));
}

ExpressionPtr ExpressionParser::parse_unary() {
  ExpressionPtr expression = parse_signed();
  for (int links = 0;; check_chain(++links)) {
    if (current().is_op("|")) {
      next();
      expression = parse_filter(std::move(expression));
    } else if (current().is_name("is")) {
      expression = parse_test(std::move(expression));
    } else if (current().is_op("(")) {
      const int call_line = current().line;
      CallArguments arguments = parse_call_arguments();
      expression = make(call_line, Call{std::move(expression), std::move(arguments)});
    } else {
      return expression;
    }
  }
}

ExpressionPtr ExpressionParser::parse_primary() {
  const int line = current().line;
  switch (current().kind) {
    case TokenKind::name:
      return parse_name();
    case TokenKind::string: {
      std::string bytes;
      while (current().kind == TokenKind::string) bytes += next().value;
      return make(line, Literal{Value(program_.literals.text({std::move(bytes), {}, false}))});
    }
    case TokenKind::integer:
      return parse_integer();
    case TokenKind::real:
      return make(line, Literal{Value(std::strtod(next().value.c_str(), nullptr))});
    default:
      break;
  }
  if (skip_op("(")) {
    ExpressionPtr expression = parse_tuple(true, {}, true);
    expect_op(")");
    return expression;
  }
  if (current().is_op("[")) return parse_list();
  if (current().is_op("{")) return parse_dict();
  unexpected("an expression");
}

ExpressionPtr ExpressionParser::parse_name() {
  const Token& token = next();
  if (token.value == "true" || token.value == "True") return make(token.line, Literal{Value(true)});
  if (token.value == "false" || token.value == "False") {
    return make(token.line, Literal{Value(false)});
  }
  if (token.value == "none" || token.value == "None") return make(token.line, Literal{Value()});
  for (MacroUses& uses : macro_uses_) {
    uses.caller |= token.value == "caller";
    uses.kwargs |= token.value == "kwargs";
    uses.varargs |= token.value == "varargs";
  }
  return make(token.line, Variable{symbol(token.value)});
}

ExpressionPtr ExpressionParser::parse_integer() {
  const Token& token = next();
  std::string_view digits = token.value;
  int base = 10;
  if (digits.size() > 2 && digits[0] == '0') {
    const char letter = static_cast<char>(digits[1] | 0x20);
    base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  int64_t value = 0;
  const auto error = std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec;
  if (error != std::errc()) throw TemplateError("integer overflow", token.line);
  return make(token.line, Literal{Value(value)});
}

bool ExpressionParser::tuple_end(std::string_view end) const {
  return current().kind == TokenKind::print_end || current().kind == TokenKind::block_end ||
         current().is_op(")") || (!end.empty() && current().is_name(end));
}

ExpressionPtr ExpressionParser::parse_tuple(bool with_conditional, std::string_view end,
                                            bool in_parentheses) {
  const int line = current().line;
  ListDisplay display{{}, true};
  bool commas = false;
  while (!tuple_end(end)) {
    display.items.push_back(parse_expression(with_conditional));
    if (!skip_op(",")) break;
    commas = true;
  }
  if (!commas && !display.items.empty()) return std::move(display.items.front());
  if (!commas && !in_parentheses) unexpected("an expression");
  return make(line, std::move(display));
}

ExpressionPtr ExpressionParser::parse_list() {
  const int line = next().line;
  ListDisplay display{{}, false};
  while (!current().is_op("]")) {
    display.items.push_back(parse_expression());
    if (!skip_op(",")) break;
  }
  expect_op("]");
  return make(line, std::move(display));
}

ExpressionPtr ExpressionParser::parse_dict() {
  const int line = next().line;
  DictDisplay display;
  while (!current().is_op("}")) {
    ExpressionPtr key = parse_expression();
    expect_op(":");
    display.entries.emplace_back(std::move(key), parse_expression());
    if (!skip_op(",")) break;
  }
  expect_op("}");
  return make(line, std::move(display));
}

ExpressionPtr ExpressionParser::parse_postfix(ExpressionPtr expression) {
  for (int links = 0;; check_chain(++links)) {
    const int line = current().line;
    if (skip_op(".")) {
      if (current().kind == TokenKind::integer) {
        ExpressionPtr index = parse_integer();
        expression = make(line, ItemAccess{std::move(expression), std::move(index)});
      } else {
        std::string name = expect_identifier();
        expression = make(line, AttributeAccess{std::move(expression), std::move(name)});
      }
    } else if (skip_op("[")) {
      expression = parse_subscript(std::move(expression));
    } else if (current().is_op("(")) {
      CallArguments arguments = parse_call_arguments();
      expression = make(line, Call{std::move(expression), std::move(arguments)});
    } else {
      return expression;
    }
  }
}

ExpressionPtr ExpressionParser::parse_subscript(ExpressionPtr object) {
  const int line = current().line;
  ExpressionPtr start;
  if (!current().is_op(":")) {
    start = parse_expression();
    if (current().is_op(",")) {
      ListDisplay key{{}, true};
      key.items.push_back(std::move(start));
      while (skip_op(",")) key.items.push_back(parse_expression());
      start = make(line, std::move(key));
    }
    if (skip_op("]")) return make(line, ItemAccess{std::move(object), std::move(start)});
  }
  expect_op(":");
  ExpressionPtr stop, step;
  if (!current().is_op(":") && !current().is_op("]")) stop = parse_expression();
  if (skip_op(":") && !current().is_op("]")) step = parse_expression();
  expect_op("]");
  return make(line,
              SliceAccess{std::move(object), std::move(start), std::move(stop), std::move(step)});
}

CallArguments ExpressionParser::parse_call_arguments() {
  CallArguments arguments;
  expect_op("(");
  while (!current().is_op(")")) {
    const bool starred = arguments.sequence != nullptr || arguments.mapping != nullptr;
    if (current().is_op("*") && !starred) {
      next();
      arguments.sequence = parse_expression();
    } else if (current().is_op("**") && arguments.mapping == nullptr) {
      next();
      arguments.mapping = parse_expression();
    } else if (current().kind == TokenKind::name && ahead().is_op("=") &&
               arguments.mapping == nullptr) {
      std::string name = next().value;
      next();
      arguments.named.emplace_back(std::move(name), parse_expression());
    } else if (!starred && arguments.named.empty()) {
      arguments.positional.push_back(parse_expression());
    } else {
      fail("invalid syntax for function call expression");
    }
    if (!skip_op(",")) break;
  }
  expect_op(")");
  return arguments;
}

std::string ExpressionParser::parse_dotted_name() {
  std::string name = expect_identifier();
  while (skip_op(".")) {
    name += '.';
    name += expect_identifier();
  }
  return name;
}

ExpressionPtr ExpressionParser::parse_filters(ExpressionPtr input) {
  for (int links = 0; skip_op("|"); check_chain(++links)) input = parse_filter(std::move(input));
  return input;
}

ExpressionPtr ExpressionParser::parse_filter(ExpressionPtr input) {
  const int line = current().line;
  FilterCall filter{std::move(input), parse_dotted_name(), nullptr, {}};
  filter.native = find_filter(filter.name);
  if (filter.native == nullptr) note_unknown("filter", filter.name, line);
  if (current().is_op("(")) filter.arguments = parse_call_arguments();
  return make(line, std::move(filter));
}

ExpressionPtr ExpressionParser::parse_test(ExpressionPtr input) {
  const int line = next().line;
  const bool negated = skip_name("not");
  TestCall test{std::move(input), parse_dotted_name(), nullptr, {}};
  test.native = find_test(test.name);
  if (test.native == nullptr) note_unknown("test", test.name, line);
  const Token& token = current();
  const bool operand = token.kind == TokenKind::name || token.kind == TokenKind::string ||
                       token.kind == TokenKind::integer || token.kind == TokenKind::real ||
                       token.is_op("[") || token.is_op("{");
  if (token.is_op("(")) {
    test.arguments = parse_call_arguments();
  } else if (token.is_name("is")) {
    fail("You cannot chain multiple tests with is");
  } else if (operand && !token.is_name("else") && !token.is_name("or") && !token.is_name("and")) {
    const Nesting nesting(*this);
    test.arguments.positional.push_back(parse_postfix(parse_primary()));
  }
  ExpressionPtr expression = make(line, std::move(test));
  if (negated) expression = make(line, Unary{UnaryOp::logical_not, std::move(expression)});
  return expression;
}

}  // namespace dinfer::jinja
