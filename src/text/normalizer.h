#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace dinfer {

// A step that rewrites a text before it is cut. Takes and leaves valid UTF-8.
class Normalizer {
 public:
  virtual ~Normalizer() = default;
  virtual void apply(std::string& text) const = 0;
};

using Normalizers = std::vector<std::unique_ptr<Normalizer>>;

enum class NormalForm { nfc, nfd, nfkc, nfkd };

std::unique_ptr<Normalizer> make_normal_form(NormalForm form);
std::unique_ptr<Normalizer> make_lowercase();
std::unique_ptr<Normalizer> make_prepend(std::string prefix);  // an empty text stays empty
std::unique_ptr<Normalizer> make_replace(Pattern pattern, std::string content);
std::unique_ptr<Normalizer> make_strip(bool left, bool right);  // white space
std::unique_ptr<Normalizer> make_strip_accents();               // combining marks

// Applies all of them. Error(usage) where they make so much of the text as no language does.
void normalize(const Normalizers& normalizers, std::string& text);

// `text` with every match of `pattern` replaced. Error(usage) above `most` bytes.
std::string replace_all(std::string_view text, const Pattern& pattern, std::string_view content,
                        size_t most = SIZE_MAX);

}  // namespace dinfer
