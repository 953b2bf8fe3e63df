#include <algorithm>

#include "text/tokenizer.h"
#include "text/utf8.h"

namespace dinfer {

std::string StreamDecoder::push(int32_t id) {
  if (id < 0 || id >= tokenizer_.vocab_size()) return {};
  const std::span<const int32_t> alone(&id, 1);
  if (skip_special_ && tokenizer_.decode(alone, true).empty() &&
      !tokenizer_.decode(alone, false).empty()) {
    return {};  // a special token
  }
  ids_.push_back(id);
  std::string text = tokenizer_.decode(ids_, skip_special_);
  const size_t complete = text.size() - unfinished_bytes(text);
  std::string piece;
  if (complete > handed_out_) {
    piece = to_valid_utf8(std::string_view(text).substr(handed_out_, complete - handed_out_));
    handed_out_ = complete;
  }
  forget(std::move(text));
  return piece;
}

// Drops the oldest ids as long as the text of the others ends like `text` and reaches back into
// what has been handed out: then whatever a decoder strips at a start lies behind.
void StreamDecoder::forget(std::string text) {
  while (ids_.size() > 1) {
    std::string kept = tokenizer_.decode(std::span(ids_).subspan(1), skip_special_);
    const size_t held_back = text.size() - handed_out_;
    if (kept.size() <= held_back || !text.ends_with(kept)) return;
    handed_out_ = kept.size() - held_back;
    ids_.erase(ids_.begin());
    text = std::move(kept);
  }
}

std::string StreamDecoder::finish() {
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  const size_t from = std::min(handed_out_, text.size());
  std::string piece = to_valid_utf8(std::string_view(text).substr(from));
  ids_.clear();
  handed_out_ = 0;
  return piece;
}

}  // namespace dinfer
