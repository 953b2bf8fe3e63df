#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/added_tokens.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"
#include "text/token_model.h"
#include "text/tokenizer.h"

namespace dinfer {

// What a tokenizer is made of, in the order in which a text passes through it.
struct TokenizerParts {
  AddedTokens added;
  Normalizers normalizers;
  PreTokenizers pre_tokenizers;
  std::unique_ptr<TokenModel> model;
  std::vector<int32_t> before;  // tokens that add_special puts around a text
  std::vector<int32_t> after;
  TokenDecoders decoders;
  std::string separator;  // between tokens when there is no decoder

  int32_t bos = -1;
  std::vector<int32_t> eos;
  std::vector<std::pair<std::string, std::string>> special_texts;
};

// A tokenizer in the way of Hugging Face's `tokenizers` library: added tokens, normalizers,
// pre-tokenizers, model, post-processor; decoders for the way back.
class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts);

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options) const override;
  std::string decode(std::span<const int32_t> ids, bool skip_special) const override;

  int32_t vocab_size() const override { return vocab_size_; }
  int32_t bos() const override { return parts_.bos; }
  const std::vector<int32_t>& eos() const override { return parts_.eos; }
  const std::vector<std::pair<std::string, std::string>>& special_texts() const override {
    return parts_.special_texts;
  }

 private:
  void encode_segment(std::string text, bool at_start, const EncodeOptions& options,
                      std::vector<int32_t>& ids) const;
  void encode_plain(std::string text, bool at_start, std::vector<int32_t>& ids) const;

  TokenizerParts parts_;
  int32_t vocab_size_;
};

}  // namespace dinfer
