#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/tokenizer_json.h"

namespace dinfer {

inline Json added_token(int id, const std::string& text, bool special, Json more = Json::object()) {
  more["id"] = id;
  more["content"] = text;
  more["special"] = special;
  if (!more.contains("normalized")) more["normalized"] = false;
  return more;
}

// A tokenizer.json of bytes (id = byte), the merges a+b -> 256 and ab+c -> 257, the special tokens
// <|a|> 258 and <|b|> 259, and the added token <tool> 260.
inline Json small_tokenizer() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) {
    std::string letter;
    append_as_letters(std::string(1, static_cast<char>(byte)), letter);
    vocabulary[letter] = byte;
  }
  vocabulary["ab"] = 256;
  vocabulary["abc"] = 257;
  const Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  return {{"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", {"a b", "ab c"}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level},
          {"post_processor", nullptr},
          {"decoder", {{"type", "ByteLevel"}}},
          {"added_tokens",
           {added_token(258, "<|a|>", true), added_token(259, "<|b|>", true),
            added_token(260, "<tool>", false)}}};
}

inline std::unique_ptr<Tokenizer> load_small(const Json& json, const TokenizerConfig& config = {}) {
  return parse_tokenizer_json(json.dump(), "small.json", config);
}

}  // namespace dinfer
