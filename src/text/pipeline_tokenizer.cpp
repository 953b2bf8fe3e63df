#include "text/pipeline_tokenizer.h"

#include <algorithm>

#include "base/error.h"
#include "text/utf8.h"

namespace dinfer {
namespace {

constexpr size_t kTextBytes = size_t{256} << 20;

// A text with its invalid bytes replaced, and the plain spans moved to where their bytes went.
struct ValidText {
  std::string text;
  std::vector<TextSpan> plain;
};

ValidText make_valid(std::string_view text, std::span<const TextSpan> plain) {
  ValidText valid;
  valid.plain.assign(plain.begin(), plain.end());
  std::vector<size_t*> borders;
  for (TextSpan& span : valid.plain) {
    borders.push_back(&span.begin);
    borders.push_back(&span.end);
  }
  size_t border = 0;
  for (size_t at = 0; at < text.size();) {
    const Character character = read_character(text, at);
    while (border < borders.size() && *borders[border] < at + character.bytes) {
      *borders[border++] = valid.text.size();
    }
    append_character(valid.text, character.code);
    at += character.bytes;
  }
  while (border < borders.size()) *borders[border++] = valid.text.size();
  return valid;
}

}  // namespace

PipelineTokenizer::PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {
  vocab_size_ = parts_.model->vocabulary().size();
  for (const AddedToken& token : parts_.added.all()) {
    vocab_size_ = std::max(vocab_size_, token.id + 1);
  }
}

std::vector<int32_t> PipelineTokenizer::encode(std::string_view text,
                                               const EncodeOptions& options) const {
  if (text.size() > kTextBytes) {
    fail(ExitCode::usage, "a text of {} bytes is longer than the tokenizer's limit of {}",
         text.size(), kTextBytes);
  }
  if (!is_valid_utf8(text)) {
    const ValidText valid = make_valid(text, options.plain);
    EncodeOptions moved = options;
    moved.plain = valid.plain;
    return encode(valid.text, moved);
  }
  std::vector<int32_t> ids;
  if (options.add_special) ids = parts_.before;
  for (const Segment& segment : parts_.added.cut(text, options)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    const size_t bytes = segment.span.end - segment.span.begin;
    encode_segment(std::string(text.substr(segment.span.begin, bytes)), segment.span.begin == 0,
                   options, ids);
  }
  if (options.add_special) ids.insert(ids.end(), parts_.after.begin(), parts_.after.end());
  return ids;
}

void PipelineTokenizer::encode_segment(std::string text, bool at_start,
                                       const EncodeOptions& options,
                                       std::vector<int32_t>& ids) const {
  normalize(parts_.normalizers, text);
  if (!parts_.added.has_normalized()) {
    encode_plain(std::move(text), at_start, ids);
    return;
  }
  for (const Segment& segment : parts_.added.cut_normalized(text, options)) {
    if (segment.id >= 0) {
      ids.push_back(segment.id);
      continue;
    }
    const size_t bytes = segment.span.end - segment.span.begin;
    encode_plain(text.substr(segment.span.begin, bytes), at_start && segment.span.begin == 0, ids);
  }
}

void PipelineTokenizer::encode_plain(std::string text, bool at_start,
                                     std::vector<int32_t>& ids) const {
  if (text.empty()) return;
  Pieces pieces;
  pieces.spans.push_back({0, text.size()});
  pieces.text = std::move(text);
  pieces.at_start = at_start;
  for (const auto& step : parts_.pre_tokenizers) step->apply(pieces);
  parts_.model->encode(pieces, ids);
}

std::string PipelineTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  const Vocabulary& vocabulary = parts_.model->vocabulary();
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocab_size_) {
      fail(ExitCode::usage, "token id {} is outside the vocabulary of {} tokens", id, vocab_size_);
    }
    const AddedToken* added = parts_.added.find(id);
    if (added != nullptr && added->special && skip_special) continue;
    const std::string* text = added != nullptr         ? &added->decoded
                              : id < vocabulary.size() ? &vocabulary.text(id)
                                                       : nullptr;
    if (text != nullptr && !text->empty()) tokens.push_back(*text);
  }
  for (const auto& decoder : parts_.decoders) decoder->apply(tokens);
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += parts_.separator;
    text += tokens[i];
  }
  return text;
}

}  // namespace dinfer
