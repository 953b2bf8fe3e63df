#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dinfer {

// What a value of tokenizer.ggml.pre stands for: facts of the models' own tokenizer files.
struct GgufPreTokenizer {
  std::vector<std::string_view> names;
  std::vector<std::string_view>
      patterns;  // applied one after the other, each isolating its matches
  bool ignore_merges = false;
  bool add_bos = false;  // where the file has no tokenizer.ggml.add_bos_token
  bool nfc = false;
};

const GgufPreTokenizer* find_gguf_pre_tokenizer(std::string_view name);  // nullptr: unknown

}  // namespace dinfer
