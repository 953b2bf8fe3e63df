#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/pattern.h"

namespace dinfer {

// A step that turns the texts of tokens into text; what the last step leaves is joined.
class TokenDecoder {
 public:
  virtual ~TokenDecoder() = default;
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

using TokenDecoders = std::vector<std::unique_ptr<TokenDecoder>>;

std::unique_ptr<TokenDecoder> make_byte_letters_decoder();   // GPT-2's alphabet back to bytes
std::unique_ptr<TokenDecoder> make_byte_fallback_decoder();  // <0xHH> back to a byte
// `replacement` back to spaces; with `drop_first` those of the first token vanish.
std::unique_ptr<TokenDecoder> make_metaspace_decoder(std::string replacement, bool drop_first);
std::unique_ptr<TokenDecoder> make_fuse_decoder();  // joins all tokens to one
// Takes up to `start` times `content` (one character) from the front of each token, and up to
// `stop` from its end.
std::unique_ptr<TokenDecoder> make_strip_decoder(std::string content, size_t start, size_t stop);
std::unique_ptr<TokenDecoder> make_replace_decoder(Pattern pattern, std::string content);

}  // namespace dinfer
