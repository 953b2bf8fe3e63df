#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "engine/sampling_params.h"
#include "grammar/grammar_cache.h"
#include "server/api_fields.h"
#include "server/tool_calls.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace dinfer {

// The model as requests see it. Read by several threads once it is made.
struct ServedModel {
  std::vector<std::string> names;  // the first is shown; requests may use any
  const Tokenizer* tokenizer = nullptr;
  std::optional<ChatTemplate> chat_template;
  std::string chat_template_source;
  SamplingParams defaults;            // of requests that do not say
  std::optional<int64_t> max_tokens;  // likewise
  std::optional<uint64_t> seed;       // likewise
  std::vector<std::string> stop;      // of all requests, before their own
  bool ignore_eos = false;
  std::vector<int32_t> eos;
  int64_t max_seq_len = 0;
  int64_t vocab = 0;
  int64_t created = 0;  // seconds since 1970
  std::shared_ptr<GrammarCache> grammars;
};

// What one request may ask for.
struct ApiLimits {
  int most_choices = 16;       // n
  size_t most_prompts = 2048;  // in one request
  size_t most_messages = 4096;
  size_t longest_text = size_t{4} << 20;  // bytes
  size_t most_stops = 16, longest_stop = 256;
  size_t most_biases = 1024;
  int most_top_logprobs = 20;
  double timeout_s = 600;
  bool strict = false;  // unknown fields are errors
};

struct GenerationPrompt {
  std::vector<int32_t> tokens;
  std::string text;             // for echo
  std::vector<size_t> offsets;  // where each token begins in it, for echo with log-probabilities
};

// Beyond the context of any model: what requests may ask for where the context ends them anyway.
inline constexpr int64_t kMostTokens = int64_t{1} << 40;

// In which form an answer is given.
enum class AnswerForm : uint8_t { completion, chat, response };

// One request to continue text, checked and tokenized: prompts x n sequences.
struct Generation {
  AnswerForm form = AnswerForm::completion;
  std::vector<GenerationPrompt> prompts;
  int n = 1;
  SamplingParams sampling;  // without `stream`, which is the choice's
  int64_t max_tokens = -1;  // -1: until the context is full
  int64_t min_tokens = 0;
  std::vector<int32_t> eos;          // end tokens in force
  std::vector<int32_t> stop_tokens;  // asked for by the request, in eos too
  std::vector<std::string> stop;
  bool include_stop = false;  // the stop text is part of the answer
  bool skip_special = true;
  bool echo = false;
  std::string salt;                         // of the prefix cache
  std::shared_ptr<TokenGrammar> grammar;    // that answers follow; may be null
  const ToolFormat* tool_format = nullptr;  // answers may have calls
  std::shared_ptr<const std::vector<ToolFunction>> tool_functions;  // of these
  std::optional<bool>
      reasoning;             // answers may begin with thoughts; true: the prompt has begun them
  int top_logprobs = -1;     // -1: no log-probabilities
  int prompt_logprobs = -1;  // likewise, of the prompt's tokens
  bool stream = false;
  bool include_usage = false, continuous_usage = false;
  double timeout_s = 600;
  OrderedJson asked;                 // what a response repeats of its request
  std::vector<std::string> ignored;  // fields without effect
  std::string warning;

  size_t sequences() const { return prompts.size() * static_cast<size_t>(n); }
};

// ApiError(400, 404) naming the field at fault.
Generation read_chat_request(const OrderedJson& body, const ServedModel& model,
                             const ApiLimits& limits);
Generation read_completion_request(const OrderedJson& body, const ServedModel& model,
                                   const ApiLimits& limits);
Generation read_responses_request(const OrderedJson& body, const ServedModel& model,
                                  const ApiLimits& limits);

// Ids of a conversation: the fields messages, chat_template_kwargs, documents and
// add_generation_prompt, with `tools`.
std::vector<int32_t> read_conversation(ApiFields& fields, const ServedModel& model,
                                       const ApiLimits& limits, const struct ToolRequest& tools);

// Ids of one text prompt. The client writes all of it, so the text of special tokens in it is
// these tokens.
std::vector<int32_t> encode_prompt(const std::string& text, const ServedModel& model,
                                   bool add_special);

// Fields that chat and completions share, from `fields` into `generation`; the caller has read its
// own before, and what is left over is noted as ignored (or refused where limits are strict).
void read_model_name(ApiFields& fields, const ServedModel& model);
void read_common_fields(ApiFields& fields, const ServedModel& model, const ApiLimits& limits,
                        Generation& generation);

}  // namespace dinfer
