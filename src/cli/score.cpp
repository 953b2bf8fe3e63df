#include "cli/score.h"

#include <cmath>
#include <deque>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli/score_logits_file.h"
#include "cli/start.h"
#include "cli/start_input.h"
#include "cli/start_output.h"

namespace dinfer {

namespace {

// One line of input on its way.
struct Item {
  int64_t number = 0;  // from 0
  std::vector<int32_t> tokens;
  OrderedJson logprobs = OrderedJson::array();
  OrderedJson top = OrderedJson::array();
  double sum = 0;
  bool done = false;
};

class Scoring {
 public:
  Scoring(Head& head, const Options& options)
      : head_(head),
        options_(options),
        input_(head.engine, head.signals),
        output_(head.engine, head.signals) {
    if (!options.logits.empty()) logits_.emplace(options.logits, head.config.vocab);
  }

  int run() {
    const SchedulerLimits& limits = head_.engine.limits();
    const auto most = static_cast<size_t>(limits.max_seqs) * static_cast<size_t>(limits.replicas);
    bool more = true;
    while (!head_.signals.caught() && (more || !items_.empty())) {
      // Waits for its reader, and for input, only where there is nothing else to do.
      if (items_.empty()) output_.flush();
      while (more && items_.size() < most && takes_input()) more = take_line();
      head_.engine.step();
      for (; !items_.empty() && items_.front().done; items_.pop_front()) print(items_.front());
    }
    output_.flush();
    if (refused_ && !head_.signals.caught()) throw *refused_;
    return static_cast<int>(head_.signals.caught().value_or(ExitCode::ok));
  }

 private:
  bool takes_input() { return items_.empty() || (!output_.is_full() && input_.ready()); }

  // False: no more are taken.
  bool take_line() {
    const std::optional<std::string> line = input_.next_line();
    if (!line) return false;
    ++line_number_;
    if (line->find_first_not_of(" \t") == std::string::npos) return true;
    try {
      submit(parse(*line));
    } catch (const Error& error) {
      refused_ = error;
    }
    return !refused_;
  }

  std::string where() const { return fmt::format("standard input, line {}", line_number_); }

  std::vector<int32_t> parse(const std::string& line) const {
    const Json json = parse_json(line, where(), ExitCode::usage);
    const auto field = [&](const char* name) -> const Json* {
      return json.is_object() && json.contains(name) ? &json[name] : nullptr;
    };
    const Json* text = field("text");
    const Json* tokens = field("tokens");
    if (text && !tokens && text->is_string())
      return head_.tokenizer->encode(text->get_ref<const std::string&>(), {});
    if (text || !tokens || !tokens->is_array()) {
      fail(ExitCode::usage,
           "{}: must be an object with either \"text\" (a string) or \"tokens\" (ids)", where());
    }
    std::vector<int32_t> ids;
    for (const Json& id : *tokens) {
      if (!id.is_number_integer() || id < 0 || id >= head_.config.vocab) {
        fail(ExitCode::usage, "{}: {} is not one of the {} tokens", where(),
             id.dump().substr(0, 80), head_.config.vocab);
      }
      ids.push_back(id.get<int32_t>());
    }
    return ids;
  }

  void submit(std::vector<int32_t> tokens) {
    Item& item = items_.emplace_back();
    item.number = next_item_++;
    item.tokens = tokens;
    item.logprobs.push_back(nullptr);
    item.top.push_back(nullptr);
    Request request{.prompt = std::move(tokens), .max_tokens = 0, .score = true};
    request.report = {
        .logprobs = true,
        .top = std::min<int32_t>(options_.top, static_cast<int32_t>(head_.config.vocab))};
    request.on_prompt_token = [this, &item](const TokenEvent& event) { note(item, event); };
    request.on_done = [&item](const Finish&) { item.done = true; };
    if (logits_) {
      request.report.logits = true;
      request.on_logits = [this, &item](const LogitsEvent& event) {
        logits_->write_row(item.number, event.position, event.logits);
      };
    }
    try {
      head_.engine.submit(std::move(request));
    } catch (const Error& error) {
      items_.pop_back();
      fail(error.code(), "{}: {}", where(), error.what());
    }
    if (logits_) logits_->add_item(item.number, item.tokens);
  }

  void note(Item& item, const TokenEvent& event) {
    item.logprobs.push_back(event.logprob);
    item.sum += event.logprob;
    OrderedJson top = OrderedJson::array();
    for (const TokenLogprob& each : event.top)
      top.push_back({{"id", each.id}, {"logprob", each.logprob}});
    item.top.push_back(std::move(top));
  }

  void print(const Item& item) {
    OrderedJson object{{"tokens", item.tokens}, {"logprobs", item.logprobs}};
    if (options_.top > 0) object["top"] = item.top;
    object["sum"] = item.sum;
    const auto predicted = static_cast<double>(item.tokens.size()) - 1;
    object["perplexity"] =
        predicted > 0 ? OrderedJson(std::exp(-item.sum / predicted)) : OrderedJson(nullptr);
    output_.add(object.dump() + "\n");
  }

  Head& head_;
  const Options& options_;
  LineInput input_;
  HeadOutput output_;
  std::optional<LogitsFile> logits_;
  std::optional<Error> refused_;  // a line that cannot be scored: those before it still are
  std::deque<Item> items_;        // in order of input; elements stay where they are
  int64_t line_number_ = 0;
  int64_t next_item_ = 0;
};

}  // namespace

int score_command(const Options& options) {
  const StartRequest request{
      .command = "score", .max_seqs = options.max_seqs, .scores = true, .prepare = [&] {
        if (options.logits.empty()) return;
        if (const std::string obstacle = write_obstacle(options.logits); !obstacle.empty())
          fail(ExitCode::config, "--logits {}: cannot be written: {}", options.logits, obstacle);
      }};
  return run_on_ranks(options, request, [&](Head& head) { return Scoring(head, options).run(); });
}

}  // namespace dinfer
