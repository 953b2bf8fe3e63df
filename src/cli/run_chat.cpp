#include "cli/run_chat.h"

#include <string>
#include <string_view>

#include "cli/option_table.h"
#include "cli/run_answer.h"
#include "cli/start_input.h"
#include "cli/start_output.h"
#include "text/chat_prompt.h"

namespace dinfer {

namespace {

constexpr std::string_view kHelp =
    "/help            this text\n"
    "/reset           forget the conversation\n"
    "/system TEXT     set the system message and forget the conversation\n"
    "/set NAME VALUE  a sampling option: temperature, top-p, top-k, min-p, seed, max-tokens ...\n"
    "/stats           tokens and speed of the last answer\n"
    "/quit            end (also Ctrl-D); Ctrl-C stops an answer\n";

class Chat {
 public:
  Chat(Head& head, const Options& options)
      : head_(head),
        options_(options),
        input_(head.engine, head.signals),
        output_(head.engine, head.signals) {
    reset();
  }

  int run() {
    for (;;) {
      output_.write("> ");
      const std::optional<std::string> line = input_.next_line();
      if (!line && head_.signals.caught() == ExitCode::interrupted) {
        head_.signals.forget_interrupt();
        output_.write("\n(/quit or Ctrl-D ends the chat)\n");
        continue;
      }
      if (!line) break;
      if (line->empty()) continue;
      if (*line == "/quit") break;
      if (line->front() == '/')
        command(*line);
      else
        reply(*line);
      if (head_.signals.caught() == ExitCode::terminated) break;
    }
    output_.write("\n");
    return static_cast<int>(head_.signals.caught().value_or(ExitCode::ok));
  }

 private:
  void reset() {
    messages_ = OrderedJson::array();
    if (!options_.system.empty())
      messages_.push_back({{"role", "system"}, {"content", options_.system}});
  }

  void command(const std::string& line) {
    const size_t blank = line.find(' ');
    const std::string name = line.substr(0, blank);
    const std::string rest = blank == std::string::npos ? "" : line.substr(blank + 1);
    if (name == "/help") {
      output_.write(kHelp);
    } else if (name == "/reset") {
      reset();
    } else if (name == "/system") {
      options_.system = rest;
      reset();
    } else if (name == "/stats") {
      output_.write(stats_ + "\n");
    } else if (name == "/set") {
      set(rest);
    } else {
      output_.write(fmt::format("{}: unknown; /help lists what there is\n", name));
    }
  }

  void set(const std::string& words) {
    const size_t blank = words.find(' ');
    const std::string name = words.substr(0, blank);
    const std::string value = blank == std::string::npos ? "" : words.substr(blank + 1);
    for (const OptionSpec& option : option_table()) {
      if (option.group != "Sampling" || option.name != name) continue;
      if (!option.rule.set(options_, value)) {
        output_.write(fmt::format("{}: must be {}\n", name, option.rule.allowed));
      }
      return;
    }
    output_.write(fmt::format("{}: no such sampling option\n", name));
  }

  // A prompt that is refused leaves the conversation as it was.
  void reply(const std::string& text) {
    messages_.push_back({{"role", "user"}, {"content", text}});
    try {
      const RenderedChat rendered =
          render_chat(head_.chat_template, *head_.tokenizer, {.messages = messages_});
      const Answer got = answer(head_,
                                {.prompt = encode_chat(*head_.tokenizer, rendered),
                                 .sampling = sampling_of(options_, head_.generation),
                                 .max_tokens = options_.max_tokens.value_or(-1),
                                 .stop = options_.stop,
                                 .ignore_eos = options_.ignore_eos},
                                [this](std::string_view piece) { output_.add(piece); });
      output_.write("\n");
      stats_ =
          fmt::format("{} tokens, {:.1f} tokens/s; first after {:.2f} s, prompt {:.0f} tokens/s",
                      got.tokens.size(), got.decode_tok_s, got.ttft_s, got.prefill_tok_s);
      messages_.push_back({{"role", "assistant"}, {"content", got.text}});
      head_.signals.forget_interrupt();
    } catch (const Error& error) {
      if (head_.engine.in_step()) throw;
      messages_.erase(messages_.size() - 1);
      output_.write(fmt::format("{}\n", error.what()));
    }
  }

  Head& head_;
  Options options_;
  LineInput input_;
  HeadOutput output_;
  OrderedJson messages_;
  std::string stats_ = "no answer yet";
};

}  // namespace

int chat(Head& head, const Options& options) { return Chat(head, options).run(); }

}  // namespace dinfer
