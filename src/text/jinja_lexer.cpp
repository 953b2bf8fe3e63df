#include "text/jinja_lexer.h"

#include <algorithm>

#include "text/jinja_print.h"

namespace dinfer::jinja {
namespace {

constexpr size_t npos = std::string_view::npos;

bool digit(char c) { return c >= '0' && c <= '9'; }
bool word(char c) {
  return digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// \n for every line end, and without the one at the end.
std::string normalized(std::string_view source) {
  std::string text;
  text.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r') {
      text += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    } else {
      text += source[i];
    }
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

void append_code(std::string& out, uint32_t code, int line) {
  if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
    throw TemplateError("a string has an escape that is no character", line);
  }
  out += encode_character(code);
}

// Replaces the escapes of a Python string literal.
std::string unescape(std::string_view text, int line) {
  static constexpr std::string_view kLetters = "abfnrtv\\'\"\n";
  static constexpr std::string_view kMeanings[] = {"\a", "\b", "\f", "\n", "\r", "\t",
                                                   "\v", "\\", "'",  "\"", ""};
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    if (text[at] != '\\' || at + 1 == text.size()) {
      out += text[at];
      continue;
    }
    const char letter = text[++at];
    if (const size_t simple = kLetters.find(letter); simple != npos) {
      out += kMeanings[simple];
    } else if (letter == 'x' || letter == 'u' || letter == 'U') {
      const size_t size = letter == 'x' ? 2 : letter == 'u' ? 4 : 8;
      const std::string_view digits = text.substr(at + 1, size);
      if (digits.size() < size || digits.find_first_not_of("0123456789abcdefABCDEF") != npos) {
        throw TemplateError("a string has a truncated escape", line);
      }
      append_code(out, static_cast<uint32_t>(std::stoul(std::string(digits), nullptr, 16)), line);
      at += size;
    } else if (letter >= '0' && letter <= '7') {
      uint32_t code = 0;
      size_t size = 0;
      for (;
           size < 3 && at + size < text.size() && text[at + size] >= '0' && text[at + size] <= '7';
           ++size) {
        code = code * 8 + static_cast<uint32_t>(text[at + size] - '0');
      }
      append_code(out, code, line);
      at += size - 1;
    } else if (letter == 'N') {
      throw TemplateError("\\N escapes are not supported", line);
    } else {
      out += {'\\', letter};
    }
  }
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(normalized(source)), text_(source_) {}

  std::vector<Token> run() {
    while (at_ < text_.size()) template_text();
    push(TokenKind::end, "");
    return std::move(tokens_);
  }

 private:
  void push(TokenKind kind, std::string value) {
    tokens_.push_back({kind, std::move(value), line_});
  }

  // Moves on to `to`, counting lines.
  void advance(size_t to) {
    line_ += static_cast<int>(std::count(text_.begin() + static_cast<std::ptrdiff_t>(at_),
                                         text_.begin() + static_cast<std::ptrdiff_t>(to), '\n'));
    at_ = to;
  }

  size_t skip_space(size_t at) const {
    return at + strip(text_.substr(at), nullptr, true, false).begin;
  }

  bool at_tag(size_t at) const {
    return at + 1 < text_.size() && text_[at] == '{' &&
           (text_[at + 1] == '%' || text_[at + 1] == '{' || text_[at + 1] == '#');
  }

  // The text before a tag without what its sign, or lstrip_blocks, takes off.
  std::string_view trimmed(std::string_view text, char sign, bool print) const {
    if (sign == '-') return text.substr(0, strip(text, nullptr, false, true).end);
    if (sign == '+' || print) return text;
    const size_t newline = text.rfind('\n');
    const size_t line_begin = newline == npos ? 0 : newline + 1;
    const bool starts_line = line_begin > 0 || line_starting_;
    const bool blank =
        strip(text.substr(line_begin), nullptr, true, false).begin == text.size() - line_begin;
    return starts_line && blank ? text.substr(0, line_begin) : text;
  }

  void template_text() {
    size_t tag = at_;
    while (tag < text_.size() && !at_tag(tag))
      tag = std::min(text_.find('{', tag + 1), text_.size());
    const std::string_view text = text_.substr(at_, tag - at_);
    if (tag == text_.size()) {
      if (!text.empty()) push(TokenKind::text, std::string(text));
      return advance(tag);
    }
    const char type = text_[tag + 1];
    size_t inside = tag + 2;
    char sign = 0;
    if (inside < text_.size() && (text_[inside] == '-' || text_[inside] == '+')) {
      sign = text_[inside++];
    }
    const std::string_view kept = trimmed(text, sign, type == '{');
    if (!kept.empty()) push(TokenKind::text, std::string(kept));
    advance(inside);
    if (type == '#') return comment();
    if (type == '%' && raw()) return;
    push(type == '{' ? TokenKind::print_begin : TokenKind::block_begin, "");
    expression(type == '{');
  }

  // Behind the end of a tag at `at` (of its -, + or }): what belongs to it.
  size_t behind_tag_end(size_t at, std::string_view end, bool trims_newline) {
    if (text_[at] == '-') return skip_space(at + 1 + end.size());
    if (text_[at] == '+') return at + 1 + end.size();
    at += end.size();
    return trims_newline && at < text_.size() && text_[at] == '\n' ? at + 1 : at;
  }

  void close(size_t behind) {
    line_starting_ = text_[behind - 1] == '\n';
    advance(behind);
  }

  void comment() {
    if (at_ == text_.size()) return;  // jinja2 does not mind
    size_t end = text_.find("#}", at_);
    if (end == npos) throw TemplateError("Missing end of comment tag", line_);
    if (end > at_ && (text_[end - 1] == '-' || text_[end - 1] == '+')) --end;
    close(behind_tag_end(end, "#}", true));
  }

  bool word_at(size_t at, std::string_view wanted) const {
    return text_.substr(at, wanted.size()) == wanted;
  }

  // {% raw %} ... {% endraw %}, if that is what follows {%.
  bool raw() {
    size_t at = skip_space(at_);
    if (!word_at(at, "raw")) return false;
    at = skip_space(at + 3);
    if (word_at(at, "-%}")) {
      at = skip_space(at + 3);
    } else if (word_at(at, "%}")) {
      at += 2;
    } else {
      return false;
    }
    close(at);
    for (size_t tag = text_.find("{%", at_); tag != npos; tag = text_.find("{%", tag + 1)) {
      size_t inside = tag + 2;
      const char sign = inside < text_.size() ? text_[inside] : ' ';
      if (sign == '-' || sign == '+') ++inside;
      inside = skip_space(inside);
      if (!word_at(inside, "endraw")) continue;
      inside = skip_space(inside + 6);
      if (!word_at(inside, "%}") && !word_at(inside, "-%}") && !word_at(inside, "+%}")) continue;
      const std::string_view kept = trimmed(text_.substr(at_, tag - at_), sign, false);
      if (!kept.empty()) push(TokenKind::text, std::string(kept));
      close(behind_tag_end(inside, "%}", true));
      return true;
    }
    if (at_ == text_.size()) return true;  // jinja2 does not mind
    throw TemplateError("Missing end of raw directive", line_);
  }

  // Tokens up to the end of the tag.
  void expression(bool print) {
    const std::string_view end = print ? "}}" : "%}";
    std::string open;
    for (;;) {
      advance(skip_space(at_));
      if (at_ >= text_.size()) return;  // the parser knows what is missing
      const bool signed_end =
          (text_[at_] == '-' || (text_[at_] == '+' && !print)) && word_at(at_ + 1, end);
      if (open.empty() && (signed_end || word_at(at_, end))) {
        push(print ? TokenKind::print_end : TokenKind::block_end, "");
        return close(behind_tag_end(at_, end, !print));
      }
      if (!number() && !name() && !string()) operation(open);
    }
  }

  // End of digits with single underscores between them.
  size_t digits_end(size_t at, std::string_view digits) const {
    while (at < text_.size() &&
           (digits.find(text_[at]) != npos ||
            (text_[at] == '_' && at + 1 < text_.size() && digits.find(text_[at + 1]) != npos))) {
      ++at;
    }
    return at;
  }

  bool number() {
    static constexpr std::string_view kDecimal = "0123456789";
    if (!digit(text_[at_])) return false;
    size_t end = digits_end(at_, kDecimal);
    bool real = false;
    if (at_ == 0 || text_[at_ - 1] != '.') {
      if (end + 1 < text_.size() && text_[end] == '.' && digit(text_[end + 1])) {
        end = digits_end(end + 1, kDecimal);
        real = true;
      }
      size_t exponent = end;
      if (exponent < text_.size() && (text_[exponent] | 0x20) == 'e') {
        ++exponent;
        if (exponent < text_.size() && (text_[exponent] == '+' || text_[exponent] == '-'))
          ++exponent;
        if (exponent < text_.size() && digit(text_[exponent])) {
          end = digits_end(exponent, kDecimal);
          real = true;
        }
      }
    }
    if (!real) end = integer_end(end);
    std::string value(text_.substr(at_, end - at_));
    std::erase(value, '_');
    push(real ? TokenKind::real : TokenKind::integer, std::move(value));
    at_ = end;
    return true;
  }

  // 0x1F, 0o17, 0b11; a decimal number does not start with 0.
  size_t integer_end(size_t decimal_end) const {
    if (text_[at_] != '0') return decimal_end;
    const char base = at_ + 1 < text_.size() ? static_cast<char>(text_[at_ + 1] | 0x20) : ' ';
    const std::string_view digits = base == 'x'   ? "0123456789abcdefABCDEF"
                                    : base == 'o' ? "01234567"
                                    : base == 'b' ? "01"
                                                  : "";
    if (!digits.empty()) {
      const size_t end = digits_end(at_ + 2, digits);
      if (end > at_ + 2) return end;
    }
    return digits_end(at_, "0");
  }

  bool name() {
    if (!word(text_[at_])) return false;
    size_t end = at_;
    while (end < text_.size() && word(text_[end])) ++end;
    push(TokenKind::name, std::string(text_.substr(at_, end - at_)));
    at_ = end;
    return true;
  }

  bool string() {
    const char quote = text_[at_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) throw TemplateError("a string has no end", line_);
    push(TokenKind::string, unescape(text_.substr(at_ + 1, end - at_ - 1), line_));
    advance(end + 1);
    return true;
  }

  void operation(std::string& open) {
    static constexpr std::string_view kDouble[] = {"//", "**", "==", "!=", ">=", "<="};
    static constexpr std::string_view kSingle = "+-/*%~[](){}<>=.:|,;";
    std::string_view op = text_.substr(at_, 2);
    if (std::find(std::begin(kDouble), std::end(kDouble), op) == std::end(kDouble)) {
      op = text_.substr(at_, 1);
      if (kSingle.find(op[0]) == npos) {
        throw TemplateError("unexpected char " + repr_of_string(op), line_);
      }
    }
    if (op == "(" || op == "[" || op == "{") {
      open += op == "(" ? ')' : op == "[" ? ']' : '}';
    } else if (op == ")" || op == "]" || op == "}") {
      if (open.empty() || open.back() != op[0]) {
        throw TemplateError("unexpected '" + std::string(op) + "'", line_);
      }
      open.pop_back();
    }
    push(TokenKind::op, std::string(op));
    at_ += op.size();
  }

  const std::string source_;
  const std::string_view text_;
  std::vector<Token> tokens_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;  // the last tag ended with a line
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace dinfer::jinja
