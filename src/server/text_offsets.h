#pragma once

#include <span>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer {

// Where tokens begin in the text that they make, in characters.
class TextOffsets {
 public:
  // `before`: characters that stand before the first of these tokens.
  TextOffsets(const Tokenizer& tokenizer, bool skip_special, size_t before)
      : decoder_(tokenizer, skip_special), characters_(before) {}

  // Where this token, which follows those before, begins. One that begins amid a character stands
  // where the character does.
  size_t next(int32_t id);

 private:
  StreamDecoder decoder_;
  size_t characters_;  // of the text so far
};

// The same of all tokens of a prompt in its `text`. What the text lacks, BOS and a space that its
// tokenizer puts before the first word, takes no room in it.
std::vector<size_t> prompt_offsets(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                   const std::string& text);

}  // namespace dinfer
