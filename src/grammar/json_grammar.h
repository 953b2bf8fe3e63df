#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "grammar/grammar.h"

namespace dinfer {

// Parts of grammars of JSON texts (RFC 8259). Between the parts of arrays and objects a text may
// have nothing, a space, or a line end with up to 32 spaces: a model cannot fill its answer with
// blanks. Numbers have at most 18 digits before the point, 17 behind it and 2 in the exponent.
class JsonGrammar {
 public:
  using Node = Grammar::Node;

  explicit JsonGrammar(Grammar& grammar);

  Node blank(Node next) { return grammar_.call(blank_, next); }
  Node string(Node next);                                                    // any, quotes included
  Node string(int64_t shortest, std::optional<int64_t> longest, Node next);  // in characters
  Node number(Node next);
  // low <= value <= high; at most 18 digits.
  Node integer(int64_t low, int64_t high, Node next);
  Node value(Node next) { return grammar_.call(value_, next); }    // any value
  Node object(Node next) { return grammar_.call(object_, next); }  // any object
  Node array(Node next) { return grammar_.call(array_, next); }
  // A key that is none of `names`, quotes included.
  Node other_key(const std::vector<std::string>& names, Node next);
  Node colon(Node next);
  Node comma(Node next);

  static constexpr int64_t kGreatest = 999'999'999'999'999'999;

 private:
  Node character(Node next, bool escapes, std::string_view without = "");
  Node escape(Node next);
  Node hex(int count, Node next);
  Node digits(int64_t fewest, int64_t most, Node next);
  Node between(const std::string& low, const std::string& high, size_t at, Node next);
  Node positive(int64_t low, int64_t high, Node next);
  Node other_name(std::vector<std::string> names, Node next);
  void define_blank();
  void define_values();

  Grammar& grammar_;
  Grammar::Rule blank_, text_, value_, object_, array_;
};

}  // namespace dinfer
