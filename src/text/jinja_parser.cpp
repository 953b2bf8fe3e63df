#include "text/jinja_parser.h"

#include "text/jinja_expression_parser.h"

namespace dinfer::jinja {
namespace {

using Names = std::initializer_list<std::string_view>;

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  void run() {
    program_.loop = symbol("loop");
    program_.body = parse_body({});
    fail_at_unknown_native();
  }

 private:
  // Keeps what is inside of a function of its own (a macro, ...) apart from what surrounds it.
  class Inner {
   public:
    Inner(Parser& parser, bool function)
        : parser_(parser), soft_(parser.soft_), loops_(parser.loops_) {
      parser.soft_ = false;
      if (function) parser.loops_ = 0;
    }
    ~Inner() {
      parser_.soft_ = soft_;
      parser_.loops_ = loops_;
    }
    Inner(const Inner&) = delete;

   private:
    Parser& parser_;
    const bool soft_;
    const int loops_;
  };

  template <class Node>
  static std::unique_ptr<Statement> make(int line, Node node) {
    return std::make_unique<Statement>(Statement{line, std::move(node)});
  }

  // Up to a tag with one of the names `ends`, whose name is then current; to the end of the
  // template if there are none.
  Body parse_body(Names ends) {
    const Nesting nesting(*this);
    Body body;
    while (current().kind != TokenKind::end) {
      const int line = current().line;
      if (current().kind == TokenKind::text) {
        body.push_back(make(line, TextOutput{program_.literals.text({next().value, {}, false})}));
      } else if (current().kind == TokenKind::print_begin) {
        next();
        body.push_back(make(line, Print{parse_tuple()}));
        expect(TokenKind::print_end, "the end of the expression");
      } else {
        expect(TokenKind::block_begin, "a tag");
        for (const std::string_view end : ends) {
          if (current().is_name(end)) return body;
        }
        body.push_back(parse_statement());
        end_tag();
      }
    }
    if (ends.size() > 0) {
      fail("Unexpected end of template: a tag '" + std::string(*ends.begin()) + "' is missing");
    }
    return body;
  }

  void end_tag() { expect(TokenKind::block_end, "the end of the tag"); }

  // The rest of an opening tag and all up to one of the closing ones.
  Body parse_block(Names ends) {
    skip_op(":");
    end_tag();
    return parse_body(ends);
  }

  Body parse_whole_block(std::string_view end) {
    Body body = parse_block({end});
    next();
    return body;
  }

  std::unique_ptr<Statement> parse_statement() {
    const int line = current().line;
    const std::string tag = expect_identifier();
    if (tag == "if") return make(line, parse_if());
    if (tag == "for") return make(line, parse_for());
    if (tag == "set") return parse_set(line);
    if (tag == "macro") return make(line, parse_macro());
    if (tag == "call") return make(line, parse_call_block());
    if (tag == "filter") return make(line, parse_filter_block());
    if (tag == "with") return make(line, parse_with());
    if (tag == "generation") return make(line, parse_scoped("endgeneration"));
    if (tag == "block") return make(line, parse_block_tag());
    if (tag == "print") return make(line, parse_print());
    if (tag == "break" || tag == "continue") {
      if (loops_ == 0) fail("'" + tag + "' outside loop");
      if (tag == "break") return make(line, Break{});
      return make(line, Continue{});
    }
    for (const std::string_view refused : {"include", "import", "from", "extends", "autoescape"}) {
      if (tag == refused) fail("the tag '" + tag + "' is not supported");
    }
    fail("Encountered unknown tag '" + tag + "'.");
  }

  If parse_if() {
    If node;
    const bool was_soft = soft_;
    soft_ = true;
    for (bool more = true; more;) {
      ExpressionPtr test = parse_tuple(false);
      Body body = parse_block({"endif", "elif", "else"});
      node.branches.emplace_back(std::move(test), std::move(body));
      const std::string tag = next().value;
      if (tag == "else") node.otherwise = parse_whole_block("endif");
      more = tag == "elif";
    }
    soft_ = was_soft;
    return node;
  }

  For parse_for() {
    For node{};
    node.target = parse_target("in", false);
    const Target& target = node.target;
    check_not_loop(target);
    expect_name("in");
    node.iterable = parse_tuple(false, "recursive");
    const Inner inner(*this, false);
    if (skip_name("if")) node.filter = parse_expression();
    node.recursive = skip_name("recursive");
    ++loops_;
    node.body = parse_block({"endfor", "else"});
    --loops_;
    if (next().value == "else") node.otherwise = parse_whole_block("endfor");
    return node;
  }

  void check_not_loop(const Target& target) const {
    if (target.symbol == program_.loop && target.attribute.empty()) {
      fail("Can't assign to special loop variable in for-loop target");
    }
    for (const Target& item : target.items) check_not_loop(item);
  }

  // A name, an attribute of a namespace if these are allowed, or a tuple of these.
  Target parse_target(std::string_view end, bool namespaces) {
    const Nesting nesting(*this);
    Target tuple;
    tuple.tuple = true;
    tuple.line = current().line;
    bool commas = false;
    while (!tuple_end(end) && !current().is_op("=")) {
      tuple.items.push_back(parse_single_target(namespaces));
      if (!skip_op(",")) break;
      commas = true;
    }
    if (!commas && tuple.items.size() == 1) {
      Target single = std::move(tuple.items.front());
      return single;
    }
    if (tuple.items.empty()) unexpected("a variable");
    return tuple;
  }

  Target parse_single_target(bool namespaces) {
    if (skip_op("(")) {
      Target target = parse_target({}, false);
      expect_op(")");
      return target;
    }
    Target target;
    target.line = current().line;
    const std::string name = expect_identifier();
    for (const std::string_view constant : {"true", "True", "false", "False", "none", "None"}) {
      if (name == constant) fail("can't assign to '" + name + "'");
    }
    target.symbol = symbol(name);
    if (namespaces && skip_op(".")) target.attribute = expect_identifier();
    return target;
  }

  std::unique_ptr<Statement> parse_set(int line) {
    Target target = parse_target({}, true);
    if (loops_ > 0) check_not_loop(target);
    if (skip_op("=")) return make(line, Set{std::move(target), parse_tuple()});
    const Inner inner(*this, false);
    ExpressionPtr filter = parse_filters(nullptr);
    Body body = parse_whole_block("endset");
    return make(line, SetBlock{std::move(target), std::move(filter), std::move(body)});
  }

  With parse_with() {
    With node;
    const Inner inner(*this, false);
    while (current().kind != TokenKind::block_end) {
      if (!node.variables.empty()) expect_op(",");
      Target target = parse_target({}, false);
      expect_op("=");
      node.variables.emplace_back(std::move(target), parse_expression());
    }
    node.body = parse_whole_block("endwith");
    return node;
  }

  void parse_signature(Signature& signature) {
    expect_op("(");
    while (!current().is_op(")")) {
      if (!signature.parameters.empty()) expect_op(",");
      std::string name = expect_identifier();
      const Symbol variable = symbol(name);
      signature.parameters.emplace_back(std::move(name), variable);
      if (skip_op("=")) {
        signature.defaults.push_back(parse_expression());
      } else if (!signature.defaults.empty()) {
        fail("non-default argument follows default argument");
      }
    }
    expect_op(")");
  }

  Body parse_function_body(Signature& signature, std::string_view end) {
    macro_uses_.emplace_back();
    Body body = parse_whole_block(end);
    const MacroUses uses = macro_uses_.back();
    macro_uses_.pop_back();
    const auto special = [&](bool used, const char* name) {
      const Symbol variable = used ? symbol(name) : -1;
      for (const auto& parameter : signature.parameters) {
        if (parameter.second == variable) return -1;
      }
      return variable;
    };
    signature.caller = special(uses.caller, "caller");
    signature.kwargs = special(uses.kwargs, "kwargs");
    signature.varargs = special(uses.varargs, "varargs");
    return body;
  }

  Macro parse_macro() {
    const Inner inner(*this, true);
    Macro node{};
    node.signature.name = expect_identifier();
    node.symbol = symbol(node.signature.name);
    parse_signature(node.signature);
    node.body = parse_function_body(node.signature, "endmacro");
    return node;
  }

  CallBlock parse_call_block() {
    CallBlock node;
    node.signature.name = "caller";
    if (current().is_op("(")) parse_signature(node.signature);
    node.call = parse_expression();
    if (!std::holds_alternative<Call>(node.call->node)) fail("expected call");
    const Inner inner(*this, true);
    node.body = parse_function_body(node.signature, "endcall");
    return node;
  }

  FilterBlock parse_filter_block() {
    const Inner inner(*this, false);
    ExpressionPtr filter = parse_filters(parse_filter(nullptr));
    return {std::move(filter), parse_whole_block("endfilter")};
  }

  Scoped parse_scoped(std::string_view end) {
    const Inner inner(*this, true);
    return {parse_whole_block(end)};
  }

  // Nothing can override a block, so it stands for its body.
  Scoped parse_block_tag() {
    const std::string name = expect_identifier();
    skip_name("scoped");
    skip_name("required");
    Scoped node = parse_scoped("endblock");
    skip_name(name);
    return node;
  }

  Print parse_print() { return {parse_expression()}; }

  int loops_ = 0;  // around the statement, in the same function
};

}  // namespace

std::unique_ptr<Program> parse(std::string_view source, const TemplateBudget& budget) {
  if (source.size() > budget.source_bytes) {
    throw TemplateError("is larger than " + std::to_string(budget.source_bytes) + " bytes", 1);
  }
  auto program = std::make_unique<Program>();
  Parser(source, budget.depth, *program).run();
  return program;
}

}  // namespace dinfer::jinja
