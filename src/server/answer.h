#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/text_stream.h"
#include "server/answer_format.h"
#include "server/engine_driver.h"
#include "server/generation.h"
#include "server/http_server.h"
#include "server/metrics.h"
#include "server/reasoning.h"
#include "server/text_offsets.h"

namespace dinfer {

// One request on its way: turns what the engine reports of its sequences into the answer's bytes.
// Lives on the server's thread.
class ApiAnswer {
 public:
  ApiAnswer(Generation generation, const ServedModel& model, Metrics& metrics,
            std::shared_ptr<HttpReply> reply, std::unique_ptr<AnswerFormat> format,
            std::vector<std::pair<std::string, std::string>> headers);

  // The engine's work for it: sequence i has the handle `first_handle` + i.
  std::vector<EngineJob> jobs(uint64_t first_handle) const;
  size_t sequences() const { return choices_.size(); }

  // Begins a streamed answer; nothing otherwise.
  void begin();

  // True: the engine need not go on with this sequence (a stop text was found).
  bool take(size_t sequence, const EngineEvent& event);

  bool finished() const { return finished_; }
  const Usage& usage() const { return usage_; }
  int status() const { return status_; }

 private:
  using Clock = std::chrono::steady_clock;

  struct Choice {
    Choice(const Tokenizer& tokenizer, const Generation& generation, size_t characters_before)
        : text(tokenizer, generation.stop, generation.skip_special),
          offsets(tokenizer, generation.skip_special, characters_before) {
      if (generation.tool_format) calls.emplace(*generation.tool_format, generation.tool_functions);
      if (generation.reasoning) reasoning.emplace(*generation.reasoning);
    }
    TextStream text;
    TextOffsets offsets;                       // of tokens that are reported
    std::optional<ReasoningReader> reasoning;  // then
    std::optional<ToolCallReader> calls;
    ChoicePart part;  // what is not sent yet
    bool done = false, called = false;
    int64_t tokens = 0;
    Clock::time_point last_token;
  };

  static void add_text(Choice& choice, std::string text);
  static void add(Choice& choice, ReasoningReader::Piece piece);
  static void add(Choice& choice, ToolCallReader::Piece piece);
  void take_token(Choice& choice, const EngineEvent& event);
  void finish(Choice& choice, std::string reason);
  void fail(const EngineEvent& event);
  void send_part(Choice& choice);
  void observe_token(Choice& choice);
  void end();

  Generation generation_;
  Metrics& metrics_;
  std::shared_ptr<HttpReply> reply_;
  std::unique_ptr<AnswerFormat> format_;
  std::vector<std::pair<std::string, std::string>> headers_;
  std::vector<Choice> choices_;
  Usage usage_;
  size_t open_;  // choices that are not done
  bool finished_ = false;
  int status_ = 200;
  Clock::time_point began_;
};

}  // namespace dinfer
