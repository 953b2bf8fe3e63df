#include "cli/run_answer.h"

#include <algorithm>
#include <random>

#include "engine/text_stream.h"

namespace dinfer {

namespace {

double rate(double count, double seconds) { return seconds > 0 ? count / seconds : 0; }

}  // namespace

std::vector<int32_t> end_tokens(const Head& head) {
  std::vector<int32_t> ids = head.tokenizer->eos();
  ids.insert(ids.end(), head.config.eos.begin(), head.config.eos.end());
  return ids;
}

SamplingParams sampling_of(const Options& options, const GenerationDefaults& defaults) {
  const bool asked =
      options.temperature || options.top_p || options.top_k || options.min_p || options.seed;
  const bool samples = asked || defaults.do_sample;
  const auto choose = [&](const auto& option, const auto& by_model, double otherwise) {
    if (option) return static_cast<float>(*option);
    return static_cast<float>(defaults.do_sample && by_model ? *by_model : otherwise);
  };
  SamplingParams params;
  params.temperature = choose(options.temperature, defaults.temperature, samples ? 1.0 : 0.0);
  params.top_p = choose(options.top_p, defaults.top_p, 1.0);
  params.min_p = choose(options.min_p, defaults.min_p, 0.0);
  params.top_k = options.top_k.value_or(defaults.do_sample ? defaults.top_k.value_or(0) : 0);
  params.repetition_penalty = static_cast<float>(
      options.repetition_penalty.value_or(defaults.repetition_penalty.value_or(1.0)));
  params.presence_penalty = static_cast<float>(options.presence_penalty.value_or(0.0));
  params.frequency_penalty = static_cast<float>(options.frequency_penalty.value_or(0.0));
  params.seed = options.seed ? *options.seed : std::random_device()();
  return params;
}

Answer answer(Head& head, const AnswerSpec& spec,
              const std::function<void(std::string_view)>& on_text) {
  Answer result;
  TextStream stream(*head.tokenizer, spec.stop);
  const std::vector<int32_t> ends = end_tokens(head);
  const auto emit = [&](const std::string& piece) {
    if (piece.empty()) return;
    result.text += piece;
    on_text(piece);
  };

  bool done = false;
  Request request{.prompt = spec.prompt, .sampling = spec.sampling, .max_tokens = spec.max_tokens};
  if (!spec.ignore_eos) request.eos = ends;
  request.on_token = [&](const TokenEvent& event) {
    result.tokens.push_back(event.id);
    const bool ends_text =
        !spec.ignore_eos && std::find(ends.begin(), ends.end(), event.id) != ends.end();
    if (!ends_text) emit(stream.push(event.id));
    return !stream.stopped() && !head.signals.caught();
  };
  request.on_done = [&](const Finish& finish) {
    done = true;
    emit(stream.finish());
    const RequestTimings& t = finish.timings;
    const auto count = static_cast<double>(result.tokens.size());
    result.reason = head.signals.caught() ? FinishReason::cancelled : finish.reason;
    result.ttft_s = t.first_s;
    result.prefill_tok_s = rate(static_cast<double>(spec.prompt.size()), t.first_s - t.queued_s);
    result.decode_tok_s = rate(count - 1, t.total_s - t.first_s);
  };
  const uint64_t id = head.engine.submit(std::move(request));
  while (!done) {
    if (head.signals.caught()) head.engine.cancel(id);
    head.engine.step();
  }
  head.engine.run_until_idle();  // what it had begun
  return result;
}

}  // namespace dinfer
