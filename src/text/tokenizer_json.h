#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/json_part.h"
#include "text/pipeline_tokenizer.h"
#include "text/tokenizer.h"

namespace dinfer {

// What the files beside a tokenizer.json say about it.
struct TokenizerConfig {
  std::vector<std::pair<std::string, std::string>> special_texts;  // as Tokenizer::special_texts()
  bool add_bos = false;  // where the tokenizer.json has no template that decides
  bool add_eos = false;
  std::vector<int32_t> eos;  // beside eos_token
};

// Adds what a tokenizer_config.json or special_tokens_map.json says.
void read_tokenizer_config(const JsonPart& config, TokenizerConfig& result);

// A tokenizer.json in the format of the `tokenizers` library. What is not supported is refused by
// name: Error(model_files) beginning with `where`.
std::unique_ptr<Tokenizer> parse_tokenizer_json(std::string_view text, std::string_view where,
                                                const TokenizerConfig& config);

// The components, each from its own part of the file.
void read_normalizer(const JsonPart& part, Normalizers& normalizers);
void read_pre_tokenizer(const JsonPart& part, PreTokenizers& pre_tokenizers);
void read_decoder(const JsonPart& part, TokenDecoders& decoders);
Vocabulary read_vocabulary(const JsonPart& model);
// No special token of `added` comes out of the model, whatever the text.
std::unique_ptr<TokenModel> read_token_model(const JsonPart& model, Vocabulary vocabulary,
                                             const std::vector<AddedToken>& added);

}  // namespace dinfer
