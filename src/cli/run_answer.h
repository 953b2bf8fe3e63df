#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/model_files.h"
#include "cli/start.h"

namespace dinfer {

// How to answer: from the command line first, then from the model's generation_config.json. A model
// whose file does not ask for sampling is decoded greedily, as Hugging Face's generate() does,
// unless an option of sampling is given; then the temperature is 1.
SamplingParams sampling_of(const Options& options, const GenerationDefaults& defaults);

// Ids that end a text: the tokenizer's and the config's.
std::vector<int32_t> end_tokens(const Head& head);

struct Answer {
  std::string text;             // without the stop string and special tokens
  std::vector<int32_t> tokens;  // the end token included
  FinishReason reason = FinishReason::stop;
  double ttft_s = 0;
  double prefill_tok_s = 0;
  double decode_tok_s = 0;
};

struct AnswerSpec {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  int64_t max_tokens = -1;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

// Runs one request to its end, or until a signal comes (then the reason is `cancelled`). `on_text`
// gets the text piece by piece.
Answer answer(Head& head, const AnswerSpec& spec,
              const std::function<void(std::string_view)>& on_text);

}  // namespace dinfer
