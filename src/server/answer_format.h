#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "engine/sampler.h"
#include "server/tool_calls.h"
#include "text/tokenizer.h"

namespace dinfer {

// The text of single tokens as they stand inside a text. Used by one thread.
class TokenTexts {
 public:
  explicit TokenTexts(const Tokenizer& tokenizer);
  const std::string& of(int32_t id);  // bytes, perhaps part of a character

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> anchor_;  // an ordinary token before, so that none is the first of a text
  size_t anchor_bytes_ = 0;
  std::unordered_map<int32_t, std::string> known_;
};

// A token with its log-probability, as reported.
struct TokenEntry {
  int32_t id = -1;
  std::optional<float> logprob;  // none: the first of a prompt
  std::vector<TokenLogprob> top;
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;  // of the prompts
};

// What all chunks of an answer share.
struct AnswerFrame {
  bool chat = false;
  std::string id;
  std::string model;
  int64_t created = 0;
};

// A piece of one choice, or all of it.
struct ChoicePart {
  int index = 0;
  std::string text;
  std::string reasoning;  // that comes before the text
  std::vector<ToolCall> calls;
  size_t first_call = 0;  // calls before this piece
  bool has_logprobs = false;
  std::vector<TokenEntry> entries;
  size_t text_offset = 0;     // characters before this piece: completions report it
  std::string finish_reason;  // empty: not finished
  std::string stop_reason;    // the stop text that was found
  std::optional<int32_t> stop_token;
};

// The object of a whole answer, and those of a stream's events. The parts' log-probabilities are
// in the form of their endpoint.
std::string whole_answer(const AnswerFrame& frame, std::span<const ChoicePart> choices,
                         const Usage& usage, TokenTexts& texts);
std::string role_chunk(const AnswerFrame& frame, int index, const std::optional<Usage>& usage,
                       bool null_usage);
std::string text_chunk(const AnswerFrame& frame, const ChoicePart& part,
                       const std::optional<Usage>& usage, bool null_usage, TokenTexts& texts);
std::string usage_chunk(const AnswerFrame& frame, const Usage& usage);

// Characters of UTF-8 text.
size_t characters(std::string_view text);

// JSON text; bytes that are not UTF-8 become U+FFFD.
std::string dump(const OrderedJson& json);

}  // namespace dinfer
