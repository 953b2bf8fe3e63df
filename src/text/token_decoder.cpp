#include "text/token_decoder.h"

#include <charconv>

#include "text/byte_alphabet.h"
#include "text/normalizer.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

class ByteLetters final : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string text;
    for (const std::string& token : tokens) {
      const auto bytes = bytes_of_letters(token);
      text += bytes ? *bytes : token;  // an added token need not be in the alphabet
    }
    tokens.assign(1, std::move(text));
  }
};

class ByteFallback final : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') continue;
      uint8_t byte = 0;
      const auto [end, error] = std::from_chars(token.data() + 3, token.data() + 5, byte, 16);
      if (error == std::errc() && end == token.data() + 5) token.assign(1, static_cast<char>(byte));
    }
  }
};

class Metaspace final : public TokenDecoder {
 public:
  Metaspace(std::string replacement, bool drop_first)
      : replacement_(std::move(replacement)), drop_first_(drop_first) {}

  void apply(std::vector<std::string>& tokens) const override {
    const Pattern pattern = Pattern::literal(replacement_);
    bool first = true;
    for (std::string& token : tokens) {
      token = replace_all(token, pattern, first && drop_first_ ? "" : " ");
      first = false;
    }
  }

 private:
  std::string replacement_;
  bool drop_first_;
};

class Fuse final : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& tokens) const override {
    std::string text;
    for (const std::string& token : tokens) text += token;
    tokens.assign(1, std::move(text));
  }
};

class Strip final : public TokenDecoder {
 public:
  Strip(std::string content, size_t start, size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}

  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (size_t i = 0; i < start_ && rest.starts_with(content_); ++i) {
        rest.remove_prefix(content_.size());
      }
      for (size_t i = 0; i < stop_ && rest.ends_with(content_); ++i) {
        rest.remove_suffix(content_.size());
      }
      token = std::string(rest);
    }
  }

 private:
  std::string content_;
  size_t start_;
  size_t stop_;
};

class Replace final : public TokenDecoder {
 public:
  Replace(Pattern pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}

  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      if (pattern_.needs_valid_text()) token = to_valid_utf8(token);
      token = replace_all(token, pattern_, content_);
    }
  }

 private:
  Pattern pattern_;
  std::string content_;
};

}  // namespace

std::unique_ptr<TokenDecoder> make_byte_letters_decoder() {
  return std::make_unique<ByteLetters>();
}

std::unique_ptr<TokenDecoder> make_byte_fallback_decoder() {
  return std::make_unique<ByteFallback>();
}

std::unique_ptr<TokenDecoder> make_metaspace_decoder(std::string replacement, bool drop_first) {
  return std::make_unique<Metaspace>(std::move(replacement), drop_first);
}

std::unique_ptr<TokenDecoder> make_fuse_decoder() { return std::make_unique<Fuse>(); }

std::unique_ptr<TokenDecoder> make_strip_decoder(std::string content, size_t start, size_t stop) {
  return std::make_unique<Strip>(std::move(content), start, stop);
}

std::unique_ptr<TokenDecoder> make_replace_decoder(Pattern pattern, std::string content) {
  return std::make_unique<Replace>(std::move(pattern), std::move(content));
}

}  // namespace dinfer
