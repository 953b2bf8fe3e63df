#include "server/text_offsets.h"

#include <algorithm>

#include "server/answer_format.h"

namespace dinfer {

size_t TextOffsets::next(int32_t id) {
  const size_t begin = characters_;
  characters_ += characters(decoder_.push(id));
  return begin;
}

std::vector<size_t> prompt_offsets(const Tokenizer& tokenizer, std::span<const int32_t> tokens,
                                   const std::string& text) {
  const size_t all = characters(tokenizer.decode(tokens, false)), own = characters(text);
  const size_t lacking = all - std::min(all, own);
  TextOffsets offsets(tokenizer, false, 0);
  std::vector<size_t> begins;
  for (const int32_t id : tokens) {
    const size_t begin = offsets.next(id);
    begins.push_back(std::min(begin - std::min(begin, lacking), own));
  }
  return begins;
}

}  // namespace dinfer
