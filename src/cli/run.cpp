#include "cli/run.h"

#include <unistd.h>

#include "base/log.h"
#include "cli/run_answer.h"
#include "cli/run_chat.h"
#include "cli/start_input.h"
#include "cli/start_output.h"
#include "text/chat_prompt.h"

namespace dinfer {

namespace {

std::vector<int32_t> checked_tokens(const std::vector<int32_t>& tokens, const ModelConfig& config) {
  for (int32_t id : tokens) {
    if (id >= config.vocab) {
      fail(ExitCode::usage, "--tokens: {} is not in the vocabulary of {} tokens", id, config.vocab);
    }
  }
  return tokens;
}

std::string prompt_text(Head& head, const Options& options) {
  if (options.prompt) return *options.prompt;
  std::string text = LineInput(head.engine, head.signals).rest();
  if (text.ends_with('\n')) text.pop_back();  // the terminal's or the shell's, not the user's
  return text;
}

std::vector<int32_t> prompt_tokens(Head& head, const Options& options) {
  if (!options.tokens.empty()) return checked_tokens(options.tokens, head.config);
  const std::string text = prompt_text(head, options);
  if (head.chat_template.empty()) return head.tokenizer->encode(text, {});
  OrderedJson messages = OrderedJson::array();
  if (!options.system.empty())
    messages.push_back({{"role", "system"}, {"content", options.system}});
  messages.push_back({{"role", "user"}, {"content", text}});
  return encode_chat(*head.tokenizer,
                     render_chat(head.chat_template, *head.tokenizer, {.messages = messages}));
}

std::string as_json(const Head& head, const std::vector<int32_t>& prompt, const Answer& got) {
  const OrderedJson object{{"text", got.text},
                           {"prompt_tokens", prompt},
                           {"tokens", got.tokens},
                           {"finish_reason", name_of(got.reason)},
                           {"timings",
                            {{"load_s", head.load_s},
                             {"ttft_s", got.ttft_s},
                             {"prefill_tok_s", got.prefill_tok_s},
                             {"decode_tok_s", got.decode_tok_s}}}};
  return object.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

int answer_once(Head& head, const Options& options) {
  AnswerSpec spec{.prompt = prompt_tokens(head, options)};
  if (const auto ended = head.signals.caught()) return static_cast<int>(*ended);
  spec.sampling = sampling_of(options, head.generation);
  spec.max_tokens = options.max_tokens.value_or(-1);
  spec.stop = options.stop;
  spec.ignore_eos = options.ignore_eos;
  HeadOutput output(head.engine, head.signals);
  const Answer got = answer(head, spec, [&](std::string_view piece) {
    if (!options.json) output.add(piece);
  });
  output.write((options.json ? as_json(head, spec.prompt, got) : "") + "\n");
  log::info(
      "{} + {} tokens; loaded in {:.2f} s, first token after {:.2f} s, prompt {:.0f} tokens/s, "
      "answer {:.1f} tokens/s",
      spec.prompt.size(), got.tokens.size(), head.load_s, got.ttft_s, got.prefill_tok_s,
      got.decode_tok_s);
  return static_cast<int>(head.signals.caught().value_or(ExitCode::ok));
}

}  // namespace

int run_command(const Options& options) {
  if (!options.tokens.empty() && options.prompt) {
    fail(ExitCode::usage, "--tokens and --prompt cannot be used together");
  }
  const bool has_prompt = options.prompt || !options.tokens.empty();
  return run_on_ranks(options,
                      {.command = "run", .prefix_cache = !options.no_prefix_cache, .answers = true},
                      [&](Head& head) {
                        const bool on_terminal = !has_prompt && !options.json && !options.raw &&
                                                 isatty(STDIN_FILENO) == 1;
                        return on_terminal ? chat(head, options) : answer_once(head, options);
                      });
}

}  // namespace dinfer
