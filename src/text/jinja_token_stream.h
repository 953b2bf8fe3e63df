#pragma once

#include <map>

#include "text/jinja_lexer.h"
#include "text/jinja_syntax.h"

namespace dinfer::jinja {

// What both halves of the parser, expressions and statements, work on.
class TokenStream {
 public:
  TokenStream(std::string_view source, int max_depth, Program& program)
      : program_(program), max_depth_(max_depth), tokens_(tokenize(source)) {}

 protected:
  // One level of the recursion of the parser.
  class Nesting {
   public:
    explicit Nesting(TokenStream& stream) : depth_(stream.depth_) {
      if (++depth_ > stream.max_depth_) stream.fail("nested too deeply");
    }
    ~Nesting() { --depth_; }
    Nesting(const Nesting&) = delete;

   private:
    int& depth_;
  };

  // Links of a chain such as a.b.c are nested in the tree, not in the parser.
  void check_chain(int links) const {
    if (links > max_depth_) fail("too long a chain");
  }

  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  const Token& next() {
    const Token& token = tokens_[at_];
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool skip_op(std::string_view op) {
    if (!current().is_op(op)) return false;
    next();
    return true;
  }
  bool skip_name(std::string_view name) {
    if (!current().is_name(name)) return false;
    next();
    return true;
  }
  void expect_op(std::string_view op) {
    if (!skip_op(op)) unexpected("'" + std::string(op) + "'");
  }
  void expect_name(std::string_view name) {
    if (!skip_name(name)) unexpected("'" + std::string(name) + "'");
  }
  std::string expect_identifier() {
    if (current().kind != TokenKind::name) unexpected("a name");
    return next().value;
  }
  void expect(TokenKind kind, std::string_view what) {
    if (current().kind != kind) unexpected(what);
    next();
  }

  [[noreturn]] void fail(const std::string& message) const {
    throw TemplateError(message, current().line);
  }
  [[noreturn]] void unexpected(std::string_view wanted) const {
    const bool named = !current().value.empty() && current().kind != TokenKind::text;
    fail("expected " + std::string(wanted) + ", got " +
         (named                               ? "'" + current().value.substr(0, 40) + "'"
          : current().kind == TokenKind::end  ? "the end of the template"
          : current().kind == TokenKind::text ? "text"
                                              : "the end of the tag"));
  }

  Symbol symbol(const std::string& name) {
    const auto [place, added] = symbols_.emplace(name, static_cast<Symbol>(symbols_.size()));
    if (added) program_.symbols.push_back(name);
    return place->second;
  }

  Program& program_;

 private:
  const int max_depth_;
  const std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;
  std::map<std::string, Symbol> symbols_;
};

}  // namespace dinfer::jinja
