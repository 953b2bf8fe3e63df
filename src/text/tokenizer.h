#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace dinfer {

// Bytes [begin, end) of a text.
struct TextSpan {
  size_t begin = 0;
  size_t end = 0;
};

struct EncodeOptions {
  bool add_special = true;     // BOS/EOS as the tokenizer's post-processor says
  bool parse_special = false;  // special-token text in the input becomes that token
  // With parse_special: parts of the text that came from a user; special tokens are not recognised
  // where they touch one of these. Ascending, disjoint.
  std::span<const TextSpan> plain = {};
};

// Text to token ids and back. Thread-safe.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  virtual std::vector<int32_t> encode(std::string_view text,
                                      const EncodeOptions& options) const = 0;

  // The text of ids, invalid UTF-8 as it is; `skip_special` leaves special tokens out. An id
  // outside the vocabulary is an Error(usage).
  virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual int32_t bos() const = 0;                      // -1: none
  virtual const std::vector<int32_t>& eos() const = 0;  // ids that end a text or a turn
  // Name ("bos_token", "eos_token", ...) and text of the special tokens a chat template may use.
  virtual const std::vector<std::pair<std::string, std::string>>& special_texts() const = 0;
};

// Turns ids into text as they come: holds back bytes of an unfinished UTF-8 character (and what the
// decoder strips only at the start of a text). The pieces concatenate to decode() of all ids, with
// U+FFFD in place of invalid UTF-8. Ids outside the vocabulary (rows that only pad a model's
// embedding) give no text.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  std::string push(int32_t id);
  std::string finish();  // what is still held back; the decoder then starts anew

 private:
  void forget(std::string text);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<int32_t> ids_;  // the last ids: enough to know how the next one continues the text
  size_t handed_out_ = 0;     // bytes of the text of ids_
};

}  // namespace dinfer
