#pragma once

#include <string>
#include <utility>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer::test {

// Letters are tokens: 'a' is 1, and so on; the text "<end>" is the special token 0.
class Letters : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<int32_t> ids;
    while (!text.empty()) {
      if (options.parse_special && text.starts_with("<end>")) {
        ids.push_back(0);
        text.remove_prefix(5);
        continue;
      }
      ids.push_back(text[0] - 'a' + 1);
      text.remove_prefix(1);
    }
    return ids;
  }
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id > 0) text += static_cast<char>('a' + id - 1);
      if (id == 0 && !skip_special) text += "<end>";
    }
    return text;
  }
  int32_t vocab_size() const override { return 27; }
  int32_t bos() const override { return -1; }
  const std::vector<int32_t>& eos() const override { return eos_; }
  const std::vector<std::pair<std::string, std::string>>& special_texts() const override {
    return none_;
  }

 private:
  std::vector<int32_t> eos_{0};
  std::vector<std::pair<std::string, std::string>> none_;
};

}  // namespace dinfer::test
