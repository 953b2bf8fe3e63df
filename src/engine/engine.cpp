#include "engine/engine.h"

#include <algorithm>
#include <utility>

namespace dinfer {
namespace {

// Of the stall timeout: a heartbeat comes up to a second after a rank has stalled.
constexpr double kAnswerShare = 0.75;

// Ranks meet to tell what they did when no step is under way: a rank that has results for the head
// may wait until it takes them. Stages run dry for that, which is to cost less than a hundredth of
// the time.
constexpr int64_t kStepsBetweenReports = 128;  // of each stage

}  // namespace

Engine::Engine(Worker& worker, ControlPlane& control, const SchedulerLimits& limits,
               double step_timeout_s, double stall_timeout_s)
    : worker_(worker),
      control_(control),
      scheduler_(limits),
      step_timeout_s_(step_timeout_s),
      stall_timeout_s_(stall_timeout_s) {}

uint64_t Engine::submit(Request request) {
  const int32_t vocab = worker_.limits().vocab;
  const auto unknown =
      std::ranges::find_if(request.prompt, [vocab](int32_t id) { return id < 0 || id >= vocab; });
  if (unknown != request.prompt.end()) {
    fail(ExitCode::usage,
         "token {} of the prompt is not in the model's vocabulary of {}: the tokenizer has more "
         "tokens than the model, or belongs to another one",
         *unknown, vocab);
  }
  const uint64_t id = scheduler_.add({.prompt = request.prompt,
                                      .sampling = request.sampling,
                                      .report = request.report,
                                      .max_tokens = request.max_tokens,
                                      .eos = request.eos,
                                      .score = request.score,
                                      .constraint = request.constraint,
                                      .salt = request.salt});
  live_.emplace(id, Live{.request = std::move(request), .submitted = Clock::now()});
  return id;
}

void Engine::cancel(uint64_t id) { cancelled_.push_back(id); }

bool Engine::step() {
  for (uint64_t id : std::exchange(cancelled_, {})) {
    if (scheduler_.remove(id)) finish(id, FinishReason::cancelled);
  }
  issue_ahead();
  if (under_way_.empty()) return false;
  collect();
  return true;
}

// Begins steps until every stage of the model has one to work at.
void Engine::issue_ahead() {
  while (std::ssize(under_way_) < limits().depth && !scheduler_.idle()) {
    const bool reports = report_due();
    if (reports && !under_way_.empty()) return;
    std::optional<StepPlan> plan = scheduler_.next();
    if (!plan) return;
    for (const Admission& admission : plan->admissions) {
      Live& live = live_.at(admission.sequence);
      if (live.started) continue;  // and preempted
      live.started = Clock::now();
      live.cached_tokens = admission.cached;
    }
    plan->report = reports && !plan->work.empty();
    ++unreported_steps_;
    issue(*plan);
    under_way_.push_back(*std::move(plan));
  }
}

bool Engine::report_due() const {
  const int64_t depth = limits().depth;
  if (depth > 1 && unreported_steps_ < depth * kStepsBetweenReports) return false;
  return Clock::now() >= next_report_;
}

void Engine::take_report(Deadline deadline) {
  const std::vector<Bytes> told = control_.all_gather(encode(worker_.figures()), deadline);
  ++report_.number;
  report_.ranks.clear();
  for (const Bytes& figures : told) report_.ranks.push_back(decode_rank_figures(figures));
  unreported_steps_ = 0;
  next_report_ = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                    std::chrono::duration<double>(kHeartbeatSeconds));
}

// Ends the oldest step under way.
void Engine::collect() {
  const StepPlan plan = std::move(under_way_.front());
  under_way_.pop_front();
  StepResult result;
  if (!plan.work.empty()) {
    in_step_ = true;
    control_.set_phase(describe(plan));
    result = worker_.result(plan);
    in_step_ = false;
    ++steps_;
    control_.set_phase("idle");
  }
  std::vector<int32_t> sampled;
  for (const WorkResult& work : result.work) sampled.push_back(work.token);
  for (const Outcome& outcome : scheduler_.commit(plan, sampled)) {
    deliver(plan.work[outcome.work], result.work[outcome.work], outcome);
  }
}

void Engine::run_until_idle() {
  while (step()) {
  }
}

void Engine::heartbeat() {
  if (under_way_.empty()) issue(scheduler_.next_idle());
}

void Engine::shut_down(int32_t exit_code) {
  for (; !under_way_.empty(); under_way_.pop_front())
    if (!under_way_.front().work.empty()) worker_.result(under_way_.front());
  StepPlan plan = scheduler_.next_idle();
  plan.stop = exit_code;
  issue(plan);
}

// Tells all ranks to take the step, and takes part in it.
void Engine::issue(const StepPlan& plan) {
  using Seconds = std::chrono::duration<double>;
  in_step_ = true;
  if (!plan.stop) control_.set_phase(describe(plan));
  Bytes message = encode(plan);
  control_.broadcast(message, Deadline::after(Seconds(step_timeout_s_)));
  if (plan.answered()) {
    const double limit_s = plan.heartbeat() ? kAnswerShare * stall_timeout_s_ : step_timeout_s_;
    take_report(Deadline::after(Seconds(limit_s)));
  }
  worker_.execute(plan);
  in_step_ = false;
  control_.set_phase("idle");
}

void Engine::deliver(const SlotWork& work, WorkResult& result, const Outcome& outcome) {
  Live& live = live_.at(outcome.sequence);
  const Request& request = live.request;
  if (work.rows == LogitRows::all) report_prompt(live, work, result);
  bool stopped = false;
  if (outcome.token >= 0) {
    if (!live.first_token) live.first_token = Clock::now();
    const RowResult& row = result.rows.back();
    const TokenEvent event{.position = work.position + work.token_count(),
                           .id = outcome.token,
                           .logprob = row.logprob,
                           .top = row.top};
    stopped = request.on_token && !request.on_token(event);
  }
  if (outcome.finish) {
    finish(outcome.sequence, *outcome.finish);
  } else if (stopped && scheduler_.remove(outcome.sequence)) {
    finish(outcome.sequence, FinishReason::stop);
  }
}

void Engine::report_prompt(Live& live, const SlotWork& work, const WorkResult& result) {
  const Request& request = live.request;
  for (size_t i = 0; i < result.rows.size(); ++i) {
    const RowResult& row = result.rows[i];
    const auto position = work.position + static_cast<int64_t>(i);
    if (request.on_logits && request.report.logits) request.on_logits({position, row.logits});
    const auto next = static_cast<size_t>(position + 1);
    if (request.on_prompt_token && next < request.prompt.size()) {
      request.on_prompt_token({.position = position + 1,
                               .id = request.prompt[next],
                               .logprob = row.logprob,
                               .top = row.top});
    }
  }
}

void Engine::finish(uint64_t id, FinishReason reason) {
  auto node = live_.extract(id);
  const Live& live = node.mapped();
  const auto now = Clock::now();
  const auto since = [&](Clock::time_point at) {
    return std::chrono::duration<double>(at - live.submitted).count();
  };
  Finish result{.reason = reason, .cached_tokens = live.cached_tokens};
  result.timings = {.queued_s = since(live.started.value_or(now)),
                    .first_s = since(live.first_token.value_or(now)),
                    .total_s = since(now)};
  if (live.request.on_done) live.request.on_done(result);
}

}  // namespace dinfer
