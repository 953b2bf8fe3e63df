#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "bootstrap/control_plane.h"
#include "engine/scheduler.h"
#include "engine/worker.h"

namespace dinfer {

// A sampled token, or (in score mode) a prompt token. Spans are valid during the callback.
struct TokenEvent {
  int64_t position = 0;  // of the token in its sequence
  int32_t id = -1;
  float logprob = 0;                  // where asked for
  std::span<const TokenLogprob> top;  // at this token's place, most likely first
};

// Row `position` of a prompt's logits: what the model gives after tokens [0, position].
struct LogitsEvent {
  int64_t position = 0;
  std::span<const float> logits;  // [vocab]
};

struct RequestTimings {
  double queued_s = 0;  // until the first step that works on it
  double first_s = 0;   // from submit to the first token (or the end, where none comes)
  double total_s = 0;
};

struct Finish {
  FinishReason reason = FinishReason::stop;
  RequestTimings timings;
  int64_t cached_tokens = 0;  // of the prompt, that did not have to be computed
};

// One sequence to continue, or to score. The engine deals in tokens: text and stop strings are the
// client's (TextStream), which ends a sequence by returning false from on_token.
struct Request {
  std::vector<int32_t> prompt;  // at least one token
  SamplingParams sampling;
  int64_t max_tokens = -1;   // -1: until the context is full; 0: none, only the prompt is run
  std::vector<int32_t> eos;  // ids that end the sequence; reported like any other token
  ReportSpec report;
  bool score = false;                      // report on prompt tokens (from the second on) too
  std::shared_ptr<Constraint> constraint;  // of the answer; may be null
  std::string salt;                        // only requests of the same salt share KV blocks

  std::function<bool(const TokenEvent&)> on_token;         // a sampled token; false: stop here
  std::function<void(const TokenEvent&)> on_prompt_token;  // score
  std::function<void(const LogitsEvent&)> on_logits;       // score with report.logits, row by row
  std::function<void(const Finish&)> on_done;
};

// The engine as its clients on the head see it: requests in, tokens out by callbacks. Each step of
// it is broadcast to all ranks, which are in run_worker() meanwhile. Used by one thread; callbacks
// run on it, and may submit and cancel.
class Engine {
 public:
  // `step_timeout_s`: how long the ranks may take to receive a plan; `stall_timeout_s`: after which
  // an idle rank that does not answer is lost.
  Engine(Worker& worker, ControlPlane& control, const SchedulerLimits& limits,
         double step_timeout_s, double stall_timeout_s);

  // Error(usage) where the prompt does not fit the context (it names both lengths), or has a token
  // that the model does not: tokenizers may know more.
  uint64_t submit(Request request);

  // Ends a request wherever it is; its on_done follows in the next step.
  void cancel(uint64_t id);

  // One step of all that waits and runs, callbacks included; where the model has several stages,
  // the next steps are begun before the oldest ends. False: there was nothing to do.
  bool step();
  void run_until_idle();

  // What all ranks have done, by rank, as they told with the last heartbeat, or about once a second
  // between steps; empty before. `number` counts what they told.
  struct Report {
    uint64_t number = 0;
    std::vector<RankFigures> ranks;
  };
  const Report& report() const { return report_; }

  // Tells the ranks that the head lives: due every kHeartbeatSeconds while no step runs. Where
  // steps are under way, these have told it.
  void heartbeat();

  // Throws Error(peer) when a rank was lost: what an idle client calls between heartbeats.
  void check_ranks() { control_.check_peers(); }
  static constexpr double kHeartbeatSeconds = 1.0;

  // All ranks leave their loops with this exit code. Nothing may follow.
  void shut_down(int32_t exit_code);

  // True while a step is given out or awaited, and for good after one that failed: the ranks have
  // lost each other.
  bool in_step() const { return in_step_; }

  uint64_t steps() const { return steps_; }  // that are done, and in which tokens were computed

  const SchedulerLimits& limits() const { return scheduler_.limits(); }
  const Scheduler& scheduler() const { return scheduler_; }  // to look at

 private:
  using Clock = std::chrono::steady_clock;

  struct Live {
    Request request;
    Clock::time_point submitted;
    std::optional<Clock::time_point> started, first_token;
    int64_t cached_tokens = 0;
  };

  void issue(const StepPlan& plan);
  void issue_ahead();
  bool report_due() const;
  void take_report(Deadline deadline);
  void collect();
  void deliver(const SlotWork& work, WorkResult& result, const Outcome& outcome);
  void report_prompt(Live& live, const SlotWork& work, const WorkResult& result);
  void finish(uint64_t id, FinishReason reason);

  Worker& worker_;
  ControlPlane& control_;
  Scheduler scheduler_;
  double step_timeout_s_;
  double stall_timeout_s_;
  bool in_step_ = false;
  std::deque<StepPlan> under_way_;
  std::unordered_map<uint64_t, Live> live_;
  std::vector<uint64_t> cancelled_;
  Report report_;
  Clock::time_point next_report_ = Clock::now();
  int64_t unreported_steps_ = 0;
  uint64_t steps_ = 0;
};

}  // namespace dinfer
