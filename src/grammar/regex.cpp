#include "grammar/regex.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace dinfer {

namespace {

constexpr size_t kLongest = 4096;  // bytes
constexpr int kDeepest = 64;       // groups in groups
constexpr int kMostTimes = 10'000;
constexpr uint32_t kFirstSurrogate = 0xd800, kLastSurrogate = 0xdfff;

const CharSet kDigits{{'0', '9'}};
const CharSet kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CharSet kSpace{{'\t', '\r'}, {' ', ' '}};
const CharSet kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

CharSet normal(CharSet set) {
  std::ranges::sort(set);
  CharSet result;
  for (const auto& [from, to] : set) {
    if (!result.empty() && from <= result.back().second + 1)
      result.back().second = std::max(result.back().second, to);
    else
      result.emplace_back(from, to);
  }
  return result;
}

CharSet ascii_complement(const CharSet& set) {
  CharSet result;
  for (const auto& [from, to] : complement(set))
    if (from < 0x80) result.emplace_back(from, std::min(to, 0x7fu));
  return result;
}

Regex set_of(CharSet set) { return {.kind = Regex::Kind::set, .set = std::move(set)}; }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {
    if (text.size() > kLongest)
      fail(ExitCode::usage, "the pattern has more than {} bytes", kLongest);
  }

  SchemaPattern parse() {
    SchemaPattern pattern;
    do {
      SchemaPattern::Way way;
      while (take('^')) way.from_begin = true;
      way.regex = sequence(0);
      while (take('$')) way.to_end = true;
      pattern.ways.push_back(std::move(way));
    } while (take('|'));
    if (!at_end()) refuse(")", "closes nothing");
    return pattern;
  }

 private:
  bool at_end() const { return at_ == text_.size(); }
  char peek() const { return text_[at_]; }
  bool take(char c) {
    if (at_end() || peek() != c) return false;
    ++at_;
    return true;
  }
  bool take(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  [[noreturn]] void refuse(std::string_view what, std::string_view why) const {
    fail(ExitCode::usage, "the pattern's {} at byte {} {}", what, at_, why);
  }
  [[noreturn]] void unavailable(std::string_view what) const { refuse(what, "is not available"); }

  Regex choice(int depth) {
    Regex choice{.kind = Regex::Kind::choice};
    do {
      choice.parts.push_back(sequence(depth));
    } while (take('|'));
    return choice;
  }

  Regex sequence(int depth) {
    Regex sequence;
    while (!at_end() && peek() != '|' && peek() != ')' && !(depth == 0 && ends_way()))
      sequence.parts.push_back(repeated(one(depth)));
    return sequence;
  }

  // Whether a $ stands where an alternative of the whole ends.
  bool ends_way() const {
    const size_t behind = text_.find_first_not_of('$', at_);
    return peek() == '$' && (behind == std::string_view::npos || text_[behind] == '|');
  }

  Regex one(int depth) {
    if (take('(')) return group(depth + 1);
    if (take('[')) return set_of(char_class());
    if (take('.')) return set_of(complement(kLineEnds));
    if (take('\\')) return set_of(escape());
    const char c = peek();
    if (c == '^' || c == '$') unavailable(std::string("inner ") + c);
    if (c == '*' || c == '+' || c == '?' || c == '{') refuse(std::string(1, c), "repeats nothing");
    const uint32_t code = character();
    return set_of({{code, code}});
  }

  Regex group(int depth) {
    if (depth > kDeepest) refuse("groups", "are nested too deep");
    if (take("?<=") || take("?<!") || take("?=") || take("?!")) unavailable("looking around");
    if (take("?P<") || take("?<")) {
      const size_t end = text_.find('>', at_);
      if (end == std::string_view::npos) refuse("group name", "has no end");
      at_ = end + 1;
    } else if (!take("?:") && !at_end() && peek() == '?') {
      unavailable("group option");
    }
    Regex inner = choice(depth);
    if (!take(')')) refuse("group", "has no end");
    return inner;
  }

  Regex repeated(Regex regex) {
    int fewest = 1, most = 1;
    if (take('*')) {
      fewest = 0, most = -1;
    } else if (take('+')) {
      most = -1;
    } else if (take('?')) {
      fewest = 0;
    } else if (take('{')) {
      most = fewest = number();
      if (take(',')) most = !at_end() && peek() == '}' ? -1 : number();
      if (!take('}')) refuse("count", "has no end");
      if (most >= 0 && most < fewest) refuse("count", "is empty");
    } else {
      return regex;
    }
    take('?');  // as few as can be: the same texts
    if (!at_end() && (peek() == '*' || peek() == '+' || peek() == '{'))
      refuse("second count", "is not available");
    Regex result{.kind = Regex::Kind::repeat, .fewest = fewest, .most = most};
    result.parts.push_back(std::move(regex));
    return result;
  }

  int number() {
    int value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc{} || value < 0 || value > kMostTimes)
      refuse("count", "must be a number up to 10000");
    at_ += static_cast<size_t>(end - begin);
    return value;
  }

  // One character of UTF-8, as the JSON that it came by made sure of.
  uint32_t character() {
    const auto first = static_cast<unsigned char>(text_[at_++]);
    if (first < 0x80) return first;
    const int more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
    uint32_t code = first & (0x3fu >> more);
    for (int i = 0; i < more && !at_end(); ++i)
      code = code << 6 | (static_cast<unsigned char>(text_[at_++]) & 0x3f);
    return code;
  }

  uint32_t hex(int digits) {
    uint32_t value = 0;
    const char* begin = text_.data() + at_;
    const char* limit = begin + std::min<size_t>(static_cast<size_t>(digits), text_.size() - at_);
    const auto [end, error] = std::from_chars(begin, limit, value, 16);
    if (error != std::errc{} || end != begin + digits) refuse("escape", "lacks hexadecimal digits");
    at_ += static_cast<size_t>(digits);
    return value;
  }

  // What follows a backslash.
  CharSet escape() {
    if (at_end()) refuse("backslash", "escapes nothing");
    const char c = text_[at_++];
    const auto single = [](uint32_t code) { return CharSet{{code, code}}; };
    switch (c) {
      case 'd':
        return kDigits;
      case 'w':
        return kWord;
      case 's':
        return kSpace;
      case 'D':
        return ascii_complement(kDigits);
      case 'W':
        return ascii_complement(kWord);
      case 'S':
        return ascii_complement(kSpace);
      case 't':
        return single('\t');
      case 'n':
        return single('\n');
      case 'r':
        return single('\r');
      case 'f':
        return single('\f');
      case 'v':
        return single('\v');
      case 'x':
        return single(hex(2));
      case 'u':
        return single(hex(4));
      default:
        break;
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter || (c >= '0' && c <= '9')) unavailable(std::string("\\") + c);
    --at_;
    return single(character());
  }

  // Behind [.
  CharSet char_class() {
    const bool negated = take('^');
    CharSet set;
    while (!take(']')) {
      if (at_end()) refuse("class", "has no end");
      if (take("[:")) unavailable("[:");
      CharSet low = class_part();
      const bool range = text_.substr(at_).starts_with('-') && !text_.substr(at_).starts_with("-]");
      if (range && is_single(low)) {
        take('-');
        const CharSet high = class_part();
        if (!is_single(high) || high[0].first < low[0].first) refuse("range", "is empty");
        low[0].second = high[0].first;
      }
      set.insert(set.end(), low.begin(), low.end());
    }
    set = normal(std::move(set));
    return negated ? complement(set) : set;
  }

  CharSet class_part() {
    if (at_end()) refuse("class", "has no end");
    if (take('\\')) return !at_end() && take('b') ? CharSet{{'\b', '\b'}} : escape();
    const uint32_t code = character();
    return {{code, code}};
  }

  static bool is_single(const CharSet& set) {
    return set.size() == 1 && set[0].first == set[0].second;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

CharSet complement(const CharSet& set) {
  CharSet without = set;
  without.emplace_back(kFirstSurrogate, kLastSurrogate);
  CharSet result;
  uint32_t next = 0;
  for (const auto& [from, to] : normal(std::move(without))) {
    if (next < from) result.emplace_back(next, from - 1);
    next = to + 1;
  }
  if (next <= kLastCharacter) result.emplace_back(next, kLastCharacter);
  return result;
}

SchemaPattern parse_pattern(std::string_view text) { return Parser(text).parse(); }

}  // namespace dinfer
