#include "server/answer.h"

#include <algorithm>
#include <utility>

#include "server/api_error.h"

namespace dinfer {

namespace {

double since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

// With at most `top` of the likeliest tokens: the engine reports as many as any part wants.
TokenEntry entry(const EngineEvent& event, int top, size_t offset = 0) {
  TokenEntry entry{event.id, event.logprob, event.top, offset};
  if (std::ssize(entry.top) > top) entry.top.resize(static_cast<size_t>(top));
  return entry;
}

}  // namespace

ApiAnswer::ApiAnswer(Generation generation, const ServedModel& model, Metrics& metrics,
                     std::shared_ptr<HttpReply> reply, std::unique_ptr<AnswerFormat> format,
                     std::vector<std::pair<std::string, std::string>> headers)
    : generation_(std::move(generation)),
      metrics_(metrics),
      reply_(std::move(reply)),
      format_(std::move(format)),
      headers_(std::move(headers)),
      open_(generation_.sequences()),
      began_(Clock::now()) {
  for (size_t i = 0; i < generation_.sequences(); ++i) {
    const GenerationPrompt& prompt = generation_.prompts[i / static_cast<size_t>(generation_.n)];
    Choice& choice = choices_.emplace_back(*model.tokenizer, generation_,
                                           generation_.echo ? characters(prompt.text) : 0);
    choice.part.index = static_cast<int>(i);
    choice.part.has_logprobs = generation_.top_logprobs >= 0;
    if (generation_.echo) {
      choice.part.text = prompt.text;
      if (choice.part.has_logprobs) choice.part.entries.push_back({.id = prompt.tokens[0]});
    }
    if (generation_.prompt_logprobs >= 0) choice.part.prompt.push_back({.id = prompt.tokens[0]});
  }
  for (const GenerationPrompt& prompt : generation_.prompts)
    usage_.prompt_tokens += static_cast<int64_t>(prompt.tokens.size());
}

std::vector<EngineJob> ApiAnswer::jobs(uint64_t first_handle) const {
  std::vector<EngineJob> jobs;
  const bool logprobs = generation_.top_logprobs >= 0;
  const bool of_prompt = generation_.prompt_logprobs >= 0;
  const int top = std::max({0, generation_.top_logprobs, generation_.prompt_logprobs});
  for (size_t i = 0; i < choices_.size(); ++i) {
    const auto& prompt = generation_.prompts[i / static_cast<size_t>(generation_.n)];
    EngineJob job{.handle = first_handle + i, .timeout_s = generation_.timeout_s};
    job.request = {.prompt = prompt.tokens,
                   .sampling = generation_.sampling,
                   .max_tokens = generation_.max_tokens,
                   .eos = generation_.eos,
                   .report = {.logprobs = logprobs || of_prompt, .top = top},
                   .score = (generation_.echo && logprobs) || of_prompt};
    job.request.salt = generation_.salt;
    if (generation_.grammar)
      job.request.constraint = std::make_shared<GrammarConstraint>(generation_.grammar);
    job.request.sampling.stream = static_cast<uint32_t>(i % static_cast<size_t>(generation_.n));
    job.request.sampling.banned_before =
        static_cast<int64_t>(prompt.tokens.size()) + generation_.min_tokens;
    jobs.push_back(std::move(job));
  }
  return jobs;
}

void ApiAnswer::begin() {
  if (!generation_.stream) return;
  HttpResponse head{.content_type = "text/event-stream", .headers = headers_};
  head.headers.emplace_back("Cache-Control", "no-cache");
  head.headers.emplace_back("X-Accel-Buffering", "no");
  head.body = format_->begin();
  reply_->start_stream(std::move(head));
}

bool ApiAnswer::take(size_t sequence, const EngineEvent& event) {
  Choice& choice = choices_[sequence];
  if (finished_ || choice.done) return false;
  switch (event.kind) {
    case EngineEvent::Kind::prompt_token:
      if (generation_.echo && choice.part.has_logprobs) {
        const auto& offsets =
            generation_.prompts[sequence / static_cast<size_t>(generation_.n)].offsets;
        choice.part.entries.push_back(
            entry(event, generation_.top_logprobs, offsets.at(choice.part.entries.size())));
      }
      if (generation_.prompt_logprobs >= 0)
        choice.part.prompt.push_back(entry(event, generation_.prompt_logprobs));
      return false;
    case EngineEvent::Kind::token:
      take_token(choice, event);
      return choice.done;
    case EngineEvent::Kind::done:
      if (sequence % static_cast<size_t>(generation_.n) == 0)
        usage_.cached_tokens += event.finish.cached_tokens;
      add_text(choice, choice.text.finish());
      finish(choice, generation_.max_tokens == 0                   ? "length"
                     : event.finish.reason == FinishReason::length ? "length"
                                                                   : "stop");
      return false;
    case EngineEvent::Kind::failed:
      fail(event);
      return false;
  }
  return false;
}

void ApiAnswer::take_token(Choice& choice, const EngineEvent& event) {
  ++choice.tokens;
  ++usage_.completion_tokens;
  observe_token(choice);
  if (choice.part.has_logprobs)
    choice.part.entries.push_back(
        entry(event, generation_.top_logprobs, choice.offsets.next(event.id)));
  if (std::ranges::find(generation_.eos, event.id) != generation_.eos.end()) {
    if (std::ranges::find(generation_.stop_tokens, event.id) != generation_.stop_tokens.end())
      choice.part.stop_token = event.id;
    return;  // the end itself follows
  }
  const size_t thoughts = choice.part.reasoning.size();
  add_text(choice, choice.text.push(event.id));
  if (choice.part.reasoning.size() > thoughts) ++usage_.reasoning_tokens;
  if (choice.text.stopped()) {
    choice.part.stop_reason = choice.text.stop_text();
    if (generation_.include_stop) add_text(choice, choice.text.stop_text());
    return finish(choice, "stop");
  }
  if (generation_.stream && (!choice.part.text.empty() || !choice.part.reasoning.empty() ||
                             !choice.part.calls.empty() || choice.part.has_logprobs))
    send_part(choice);
}

void ApiAnswer::observe_token(Choice& choice) {
  if (choice.tokens == 1)
    metrics_.time_to_first_token.observe(since(began_));
  else
    metrics_.inter_token_latency.observe(since(choice.last_token));
  choice.last_token = Clock::now();
}

void ApiAnswer::add_text(Choice& choice, std::string text) {
  if (choice.reasoning)
    add(choice, choice.reasoning->push(text));
  else
    add(choice, ReasoningReader::Piece{.text = std::move(text)});
}

void ApiAnswer::add(Choice& choice, ReasoningReader::Piece piece) {
  choice.part.reasoning += piece.reasoning;
  if (choice.calls)
    add(choice, choice.calls->push(piece.text));
  else
    choice.part.text += piece.text;
}

void ApiAnswer::add(Choice& choice, ToolCallReader::Piece piece) {
  choice.part.text += piece.text;
  choice.called |= !piece.calls.empty();
  for (ToolCall& call : piece.calls) {
    const bool goes_on = call.id.empty() && !choice.part.calls.empty();
    if (goes_on)
      choice.part.calls.back().arguments += call.arguments;
    else
      choice.part.calls.push_back(std::move(call));
  }
}

void ApiAnswer::finish(Choice& choice, std::string reason) {
  choice.done = true;
  if (choice.reasoning) add(choice, choice.reasoning->finish());
  if (choice.calls) add(choice, choice.calls->finish());
  if (choice.called && reason == "stop") reason = "tool_calls";
  metrics_.count_finish(reason);
  choice.part.finish_reason = std::move(reason);
  --open_;
  if (generation_.stream) send_part(choice);
  if (open_ == 0) end();
}

// Sends what the choice has, and begins a new part.
void ApiAnswer::send_part(Choice& choice) {
  reply_->write(format_->piece(choice.part, usage_));
  choice.part = {.index = choice.part.index,
                 .has_logprobs = choice.part.has_logprobs,
                 .stop_token = choice.part.stop_token};
}

void ApiAnswer::end() {
  finished_ = true;
  metrics_.request_latency.observe(since(began_));
  if (generation_.stream) {
    reply_->write(format_->end(usage_));
    reply_->end();
    return;
  }
  std::vector<ChoicePart> parts;
  for (Choice& choice : choices_) parts.push_back(std::move(choice.part));
  reply_->send({.headers = headers_, .body = format_->whole(parts, usage_)});
}

void ApiAnswer::fail(const EngineEvent& event) {
  finished_ = true;
  status_ = event.status;
  const ApiError error = event.status == 503 ? ApiError::unavailable("draining", event.error, 10)
                                             : ApiError::of_status(event.status, event.error);
  if (generation_.stream) {
    reply_->write(format_->failure(error));
    return reply_->end();
  }
  HttpResponse response = error.response();
  response.headers.insert(response.headers.end(), headers_.begin(), headers_.end());
  reply_->send(std::move(response));
}

}  // namespace dinfer
