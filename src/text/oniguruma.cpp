#include "base/error.h"
#include "text/pattern.h"

namespace dinfer {
namespace {

constexpr int kNestedClasses = 16;

// Members of a class. PCRE2's own \s also matches U+180E, its \w neither marks nor connectors.
constexpr std::string_view kSpaces =
    R"(\x{9}-\x{d}\x20\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

class Translator {
 public:
  Translator(std::string_view source, std::string_view where) : source_(source), where_(where) {}

  std::string run() {
    std::string out;
    while (at_ < source_.size()) {
      if (source_[at_] == '[') {
        out += top_class();
      } else if (source_[at_] == '\\') {
        out += escape(false);
      } else {
        out += source_[at_++];
      }
    }
    return out;
  }

 private:
  [[noreturn]] void refuse(std::string_view why) const {
    fail(ExitCode::model_files, "{}: the pattern {} is not supported: {} at byte {}", where_,
         source_, why, at_);
  }

  char next() const { return at_ + 1 < source_.size() ? source_[at_ + 1] : '\0'; }

  // The set that \s, \w or \h stand for; empty for other escapes.
  static std::string_view members_of(char letter) {
    switch (letter) {
      case 's':
      case 'S':
        return kSpaces;
      case 'w':
      case 'W':
        return kWord;
      case 'h':
      case 'H':
        return kHexDigits;
      default:
        return {};
    }
  }

  std::string escape(bool in_class) {
    const char letter = next();
    if (letter == '\0') refuse("a backslash at the end");
    const std::string_view members = members_of(letter);
    const bool negated = letter == 'S' || letter == 'W' || letter == 'H';
    if (!members.empty() && !(in_class && negated && letter != 'H')) {
      if (in_class && negated) refuse("\\H inside a class");
      at_ += 2;
      if (in_class) return std::string(members);
      return fmt::format("[{}{}]", negated ? "^" : "", members);
    }
    if (letter == 'u') {
      const std::string_view digits =
          source_.substr(std::min(at_ + 2, source_.size())).substr(0, 4);
      if (digits.size() < 4 || digits.find_first_not_of("0123456789abcdefABCDEF") != digits.npos) {
        refuse("\\u without four hexadecimal digits");
      }
      at_ += 6;
      return fmt::format("\\x{{{}}}", digits);
    }
    const std::string both(source_.substr(at_, 2));
    at_ += 2;
    return both;
  }

  struct Class {
    bool negated = false;
    std::string members;
    std::string conditions;  // lookaheads that intersections turn into
  };

  std::string top_class() {
    const Class parsed = parse_class(0);
    const std::string set = fmt::format("[{}{}]", parsed.negated ? "^" : "", parsed.members);
    if (parsed.conditions.empty()) return set;
    if (parsed.negated) refuse("an intersection in a negated class");
    return fmt::format("(?:{}{})", parsed.conditions, set);
  }

  // From '[' past the matching ']'. A class inside a class is a union, A&&B an intersection.
  Class parse_class(int depth) {
    if (depth > kNestedClasses) refuse("classes nested too deeply");
    Class result;
    ++at_;
    if (at_ < source_.size() && source_[at_] == '^') {
      result.negated = true;
      ++at_;
    }
    for (bool first = true;; first = false) {
      if (at_ >= source_.size()) refuse("a class without its end");
      const char c = source_[at_];
      if (c == ']' && !first) break;
      if (c == ']') {
        result.members += "\\]";
        ++at_;
      } else if (c == '\\') {
        result.members += escape(true);
      } else if (c == '[' && next() == ':') {
        result.members += posix_class();
      } else if (c == '[') {
        const Class inner = parse_class(depth + 1);
        if (inner.negated || !inner.conditions.empty()) refuse("a negated class inside a class");
        result.members += inner.members;
      } else if (c == '&' && next() == '&') {
        at_ += 2;
        result.conditions += condition(depth);
      } else {
        result.members += c;
        ++at_;
      }
    }
    ++at_;
    return result;
  }

  std::string posix_class() {
    const size_t end = source_.find(":]", at_);
    if (end == std::string_view::npos) refuse("[: without :]");
    const std::string text(source_.substr(at_, end + 2 - at_));
    at_ = end + 2;
    return text;
  }

  // What stands behind &&, which must be a class of its own.
  std::string condition(int depth) {
    if (at_ >= source_.size() || source_[at_] != '[') refuse("&& without a class behind it");
    const Class right = parse_class(depth + 1);
    if (!right.conditions.empty()) refuse("an intersection inside an intersection");
    return fmt::format("(?{}[{}])", right.negated ? "!" : "=", right.members);
  }

  std::string_view source_;
  std::string_view where_;
  size_t at_ = 0;
};

}  // namespace

std::string pcre_from_oniguruma(std::string_view pattern, std::string_view where) {
  return Translator(pattern, where).run();
}

}  // namespace dinfer
