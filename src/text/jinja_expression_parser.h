#pragma once

#include "text/jinja_token_stream.h"

namespace dinfer::jinja {

// Expressions, from the loosest binding to the tightest:
//   a if t else b, or, and, not, comparisons, + -, ~, * / // %, **, unary + -, postfix, filters and
//   tests. As in jinja2, ** binds weaker than a sign and groups from the left.
class ExpressionParser : public TokenStream {
 public:
  using TokenStream::TokenStream;

 protected:
  // Filters and tests that do not exist are an error, except where they may not be reached: jinja2
  // leaves those inside of if to the run time.
  void fail_at_unknown_native() const;
  // Names of the special variables of macros that have been mentioned: for the enclosing macros.
  struct MacroUses {
    bool caller = false, kwargs = false, varargs = false;
  };

  ExpressionPtr parse_expression(bool with_conditional = true);
  // One expression, or a tuple of several with commas between them, up to the end of the tag, a
  // closing parenthesis or the name `end`.
  ExpressionPtr parse_tuple(bool with_conditional = true, std::string_view end = {},
                            bool in_parentheses = false);
  ExpressionPtr parse_filters(ExpressionPtr input);  // at a |, if any
  ExpressionPtr parse_filter(ExpressionPtr input);   // at the name of a filter
  bool tuple_end(std::string_view end) const;

  bool soft_ = false;  // inside of if
  std::vector<MacroUses> macro_uses_;

 private:
  struct UnknownNative {
    std::string message;
    int line;
  };

  ExpressionPtr parse_conditional();
  ExpressionPtr parse_or();
  ExpressionPtr parse_and();
  ExpressionPtr parse_not();
  ExpressionPtr parse_comparison();
  ExpressionPtr parse_sum();
  ExpressionPtr parse_concatenation();
  ExpressionPtr parse_product();
  ExpressionPtr parse_power();
  ExpressionPtr parse_unary();
  ExpressionPtr parse_signed();
  ExpressionPtr parse_primary();
  ExpressionPtr parse_name();
  ExpressionPtr parse_integer();
  ExpressionPtr parse_list();
  ExpressionPtr parse_dict();
  ExpressionPtr parse_postfix(ExpressionPtr expression);
  ExpressionPtr parse_subscript(ExpressionPtr object);
  ExpressionPtr parse_test(ExpressionPtr input);
  CallArguments parse_call_arguments();
  std::string parse_dotted_name();
  void note_unknown(std::string_view what, const std::string& name, int line);

  std::vector<UnknownNative> unknown_;
};

}  // namespace dinfer::jinja
