#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer {

// A pattern of a tokenizer file, compiled: a literal text, or a regular expression in Oniguruma's
// Ruby syntax (what the `tokenizers` library uses), matched by PCRE2 with limits.
class Pattern {
 public:
  static Pattern literal(std::string text);
  // `where` names file and component in the Error(model_files) for a pattern that does not compile.
  static Pattern regex(std::string_view source, std::string_view where);

  bool needs_valid_text() const { return code_ != nullptr; }  // a literal matches in any bytes

  // Finds matches in many texts, one after the other; holds PCRE2's scratch memory.
  class Finder {
   public:
    explicit Finder(const Pattern& pattern);
    ~Finder();
    Finder(const Finder&) = delete;
    Finder& operator=(const Finder&) = delete;

    // Appends all matches in `text` (valid UTF-8 where the
    // pattern needs it), ascending and disjoint; matches may be empty.
    // Error(usage) when the pattern takes too many steps on this text.
    void find_all(std::string_view text, std::vector<TextSpan>& matches);

   private:
    struct Scratch;
    bool search(std::string_view text, size_t from, TextSpan& match);

    const Pattern& pattern_;
    std::unique_ptr<Scratch> scratch_;
  };

 private:
  struct Code;
  explicit Pattern(std::string literal) : literal_(std::move(literal)) {}

  std::string literal_;               // where code_ is empty
  std::shared_ptr<const Code> code_;  // a compiled regular expression
};

// `pattern` in PCRE2's syntax: white space and word characters as Unicode (and Oniguruma) define
// them, \h for hexadecimal digits, \uHHHH, nested classes and intersections of classes.
std::string pcre_from_oniguruma(std::string_view pattern, std::string_view where);

}  // namespace dinfer
