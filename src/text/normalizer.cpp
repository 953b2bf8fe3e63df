#include "text/normalizer.h"

#include <utf8proc.h>

#include <cstdlib>

#include "base/error.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

// Bytes that normalisation may make of a text: the compatibility forms of a character take up to 11
// times as many, and a prefix may come to a short one.
size_t most_bytes(size_t given) { return 16 * given + 4096; }

[[noreturn]] void fail_growth(size_t given, size_t most) {
  fail(ExitCode::usage,
       "the tokenizer's normalizers make more than {} bytes of a text of {}: its file is damaged, "
       "or not meant for texts",
       most, given);
}

class Unicode final : public Normalizer {
 public:
  explicit Unicode(NormalForm form) : options_(options_of(form)) {}

  void apply(std::string& text) const override {
    if (is_ascii(text)) return;
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                     static_cast<utf8proc_ssize_t>(text.size()), &mapped, options_);
    if (size < 0) {
      fail(ExitCode::usage, "Unicode normalisation of a text of {} bytes failed: {}", text.size(),
           utf8proc_errmsg(size));
    }
    text.assign(reinterpret_cast<const char*>(mapped), static_cast<size_t>(size));
    std::free(mapped);
  }

 private:
  static utf8proc_option_t options_of(NormalForm form) {
    int options = UTF8PROC_STABLE;
    const bool compose = form == NormalForm::nfc || form == NormalForm::nfkc;
    options |= compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE;
    if (form == NormalForm::nfkc || form == NormalForm::nfkd) options |= UTF8PROC_COMPAT;
    return static_cast<utf8proc_option_t>(options);
  }

  utf8proc_option_t options_;
};

// Maps each character on its own.
class CharacterMap final : public Normalizer {
 public:
  explicit CharacterMap(void (*map)(uint32_t, std::string&)) : map_(map) {}

  void apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size();) {
      const Character character = read_character(text, at);
      map_(character.code, out);
      at += character.bytes;
    }
    text = std::move(out);
  }

 private:
  void (*map_)(uint32_t, std::string&);
};

class Prepend final : public Normalizer {
 public:
  explicit Prepend(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix_);
  }

 private:
  std::string prefix_;
};

class Replace final : public Normalizer {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(std::string& text) const override {
    text = replace_all(text, pattern_, content_, most_bytes(text.size()));
  }

 private:
  Pattern pattern_;
  std::string content_;
};

class Strip final : public Normalizer {
 public:
  Strip(bool left, bool right) : left_(left), right_(right) {}

  void apply(std::string& text) const override {
    size_t begin = 0;
    size_t end = 0;  // of the last character that is no white space
    bool leading = true;
    for (size_t at = 0; at < text.size();) {
      const Character character = read_character(text, at);
      at += character.bytes;
      if (!is_white_space(character.code)) {
        leading = false;
        end = at;
      } else if (leading) {
        begin = at;
      }
    }
    if (!left_) begin = 0;
    if (!right_) end = text.size();
    text = begin < end ? text.substr(begin, end - begin) : std::string();
  }

 private:
  bool left_;
  bool right_;
};

void append_lowercase(uint32_t code, std::string& out) {
  if (code == 0x130) {  // the only character whose lower case is two: i and U+0307
    out += "i\u0307";
    return;
  }
  append_character(out,
                   static_cast<uint32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(code))));
}

void append_unless_mark(uint32_t code, std::string& out) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  if (category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME) return;
  append_character(out, code);
}

}  // namespace

std::unique_ptr<Normalizer> make_normal_form(NormalForm form) {
  return std::make_unique<Unicode>(form);
}

std::unique_ptr<Normalizer> make_lowercase() {
  return std::make_unique<CharacterMap>(&append_lowercase);
}

std::unique_ptr<Normalizer> make_prepend(std::string prefix) {
  return std::make_unique<Prepend>(std::move(prefix));
}

std::unique_ptr<Normalizer> make_replace(Pattern pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}

std::unique_ptr<Normalizer> make_strip(bool left, bool right) {
  return std::make_unique<Strip>(left, right);
}

std::unique_ptr<Normalizer> make_strip_accents() {
  return std::make_unique<CharacterMap>(&append_unless_mark);
}

void normalize(const Normalizers& normalizers, std::string& text) {
  const size_t given = text.size();
  for (const auto& normalizer : normalizers) {
    normalizer->apply(text);
    if (text.size() > most_bytes(given)) fail_growth(given, most_bytes(given));
  }
}

std::string replace_all(std::string_view text, const Pattern& pattern, std::string_view content,
                        size_t most) {
  std::vector<TextSpan> matches;
  Pattern::Finder(pattern).find_all(text, matches);
  std::string out;
  out.reserve(text.size());
  size_t at = 0;
  for (const TextSpan& match : matches) {
    out.append(text, at, match.begin - at);
    out += content;
    if (out.size() > most) fail_growth(text.size(), most);
    at = match.end;
  }
  out.append(text, at);
  return out;
}

}  // namespace dinfer
