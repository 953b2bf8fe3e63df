#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dinfer::jinja {

enum class TokenKind : uint8_t {
  text,  // of the template, outside tags
  print_begin,
  print_end,
  block_begin,
  block_end,
  name,
  string,
  integer,
  real,
  op,
  end
};

struct Token {
  TokenKind kind = TokenKind::end;
  std::string
      value;  // text with white space control done, name, string without quotes and escapes, ...
  int line = 1;

  bool is_op(std::string_view op) const { return kind == TokenKind::op && value == op; }
  bool is_name(std::string_view name) const { return kind == TokenKind::name && value == name; }
};

// Cuts a template into tokens as jinja2's lexer does with trim_blocks and lstrip_blocks; the last
// token is `end`. A TemplateError names the line of what is no token.
std::vector<Token> tokenize(std::string_view source);

}  // namespace dinfer::jinja
