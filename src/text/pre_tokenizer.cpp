#include "text/pre_tokenizer.h"

#include <utf8proc.h>

#include "text/byte_alphabet.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

class PatternSplit final : public PreTokenizer {
 public:
  PatternSplit(Pattern pattern, SplitBehavior behavior, bool invert)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void apply(Pieces& pieces) const override {
    Pattern::Finder finder(pattern_);
    split(
        pieces,
        [&](std::string_view text, std::vector<TextSpan>& matches) {
          finder.find_all(text, matches);
        },
        behavior_, invert_);
  }

 private:
  Pattern pattern_;
  SplitBehavior behavior_;
  bool invert_;
};

class CharacterSplit final : public PreTokenizer {
 public:
  CharacterSplit(bool (*belongs)(uint32_t), SplitBehavior behavior)
      : find_(each_character(belongs)), behavior_(behavior) {}

  void apply(Pieces& pieces) const override { split(pieces, find_, behavior_, false); }

 private:
  FindMatches find_;
  SplitBehavior behavior_;
};

class ByteLetters final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    rewrite(pieces,
            [](std::string_view piece, bool, std::string& out) { append_as_letters(piece, out); });
  }
};

class PrefixSpace final : public PreTokenizer {
 public:
  void apply(Pieces& pieces) const override {
    rewrite(pieces, [](std::string_view piece, bool, std::string& out) {
      if (piece.front() != ' ') out += ' ';
      out += piece;
    });
  }
};

class Metaspace final : public PreTokenizer {
 public:
  Metaspace(std::string replacement, PrependScheme scheme, bool cut)
      : replacement_(std::move(replacement)), scheme_(scheme), cut_(cut) {}

  void apply(Pieces& pieces) const override {
    rewrite(pieces, [&](std::string_view piece, bool first, std::string& out) {
      const bool prepend =
          scheme_ == PrependScheme::always || (scheme_ == PrependScheme::first && first);
      if (prepend && piece.front() != ' ' && !piece.starts_with(replacement_)) out += replacement_;
      for (const char byte : piece) {
        if (byte == ' ') {
          out += replacement_;
        } else {
          out += byte;
        }
      }
    });
    if (!cut_) return;
    const uint32_t mark = read_character(replacement_, 0).code;
    split(pieces, each_character([=](uint32_t code) { return code == mark; }),
          SplitBehavior::merged_with_next, false);
  }

 private:
  std::string replacement_;
  PrependScheme scheme_;
  bool cut_;
};

}  // namespace

const std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

std::unique_ptr<PreTokenizer> make_pattern_split(Pattern pattern, SplitBehavior behavior,
                                                 bool invert) {
  return std::make_unique<PatternSplit>(std::move(pattern), behavior, invert);
}

std::unique_ptr<PreTokenizer> make_character_split(bool (*belongs)(uint32_t),
                                                   SplitBehavior behavior) {
  return std::make_unique<CharacterSplit>(belongs, behavior);
}

std::unique_ptr<PreTokenizer> make_byte_letters() { return std::make_unique<ByteLetters>(); }

std::unique_ptr<PreTokenizer> make_prefix_space() { return std::make_unique<PrefixSpace>(); }

std::unique_ptr<PreTokenizer> make_metaspace(std::string replacement, PrependScheme scheme,
                                             bool cut) {
  return std::make_unique<Metaspace>(std::move(replacement), scheme, cut);
}

bool is_number(uint32_t code) {
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO;
}

bool is_punctuation(uint32_t code) {
  if (code < 0x80) {
    return (code >= '!' && code <= '/') || (code >= ':' && code <= '@') ||
           (code >= '[' && code <= '`') || (code >= '{' && code <= '~');
  }
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

}  // namespace dinfer
