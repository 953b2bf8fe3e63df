#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/json.h"
#include "engine/sampler.h"
#include "server/api_error.h"
#include "server/tool_call_reader.h"
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
  size_t offset = 0;  // characters of its text before it: completions report it
};

struct Usage {
  int64_t prompt_tokens = 0;
  int64_t completion_tokens = 0;
  int64_t cached_tokens = 0;     // of the prompts
  int64_t reasoning_tokens = 0;  // of the answers
};

// What an answer says of itself.
struct AnswerFrame {
  std::string id;
  std::string model;
  int64_t created = 0;
};

// A piece of one choice, or all of it.
struct ChoicePart {
  int index = 0;
  std::string text;
  std::string reasoning;        // that comes before the text
  std::vector<ToolCall> calls;  // or pieces of them
  bool has_logprobs = false;
  std::vector<TokenEntry> entries;
  std::vector<TokenEntry> prompt;  // where its log-probabilities were asked for
  std::string finish_reason;       // empty: not finished
  std::string stop_reason;         // the stop text that was found
  std::optional<int32_t> stop_token;
};

// An answer in the form of its endpoint: one object, or the events of a stream as they are sent.
// One object serves one answer; its parts' log-probabilities are in the form of the endpoint, too.
class AnswerFormat {
 public:
  virtual ~AnswerFormat() = default;

  virtual std::string whole(std::span<const ChoicePart> choices, const Usage& usage) = 0;

  virtual std::string begin() = 0;  // of a stream, before any token
  virtual std::string piece(const ChoicePart& part, const Usage& usage) = 0;
  virtual std::string end(const Usage& usage) = 0;
  // A stream that has begun ends with an error: never with a finish_reason.
  virtual std::string failure(const ApiError& error) = 0;
};

// Tokens as chat and responses report them.
OrderedJson token_logprobs(std::span<const TokenEntry> entries, TokenTexts& texts);

// Tokens of a prompt as vLLM reports them: for each the likeliest ones and itself, by id.
OrderedJson prompt_logprobs(std::span<const TokenEntry> entries, TokenTexts& texts);

// Characters of UTF-8 text.
size_t characters(std::string_view text);

// JSON text; bytes that are not UTF-8 become U+FFFD.
std::string dump(const OrderedJson& json);

}  // namespace dinfer
