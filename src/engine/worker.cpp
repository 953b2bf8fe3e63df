#include "engine/worker.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "base/error.h"

namespace dinfer {

namespace {

// FNV-1a, 64 bits, a word at a time (http://www.isthe.com/chongo/tech/comp/fnv/).
constexpr uint64_t kFnvPrime = 0x100000001b3u;

template <class... Args>
[[noreturn]] void parted(fmt::format_string<Args...> format, Args&&... args) {
  fail(ExitCode::peer, "the head's plan does not fit this rank's state: {}",
       fmt::format(format, std::forward<Args>(args)...));
}

[[noreturn]] void parted_from(int rank) {
  fail(ExitCode::peer,
       "rank {} did other work than rank 0 in the steps so far: the ranks have parted", rank);
}

// Whole rows of a large vocabulary, for as many tokens as a step may score.
constexpr uint64_t kMostResultBytes = uint64_t{1} << 32;

}  // namespace

Worker::Worker(Transformer& model, Sampler* sampler, const ResultRoute& route,
               const PlanLimits& limits, int64_t max_seq_len, const CallTime& calls)
    : model_(model),
      sampler_(sampler),
      route_(route),
      limits_(limits),
      max_seq_len_(max_seq_len),
      calls_(calls),
      slots_(limits.slots) {}

// Counts what passes while it lives as time in steps.
class Worker::Timing {
 public:
  explicit Timing(Worker& worker) : worker_(worker), calls_before_(worker.calls_.seconds) {}
  Timing(const Timing&) = delete;
  Timing& operator=(const Timing&) = delete;
  ~Timing() {
    worker_.figures_.step_s += std::chrono::duration<double>(Clock::now() - begin_).count();
    worker_.figures_.collective_s += worker_.calls_.seconds - calls_before_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  Worker& worker_;
  double calls_before_;
  Clock::time_point begin_ = Clock::now();
};

void Worker::execute(const StepPlan& plan) {
  const Timing timing(*this);
  follow(plan);
  figures_.steps += plan.work.empty() ? 0 : 1;
}

void Worker::follow(const StepPlan& plan) {
  if (plan.step != next_step_) parted("step {} where {} was due", plan.step, next_step_);
  ++next_step_;
  note(plan);
  apply_changes(plan);
  work_.clear();
  tokens_.clear();
  chunks_.clear();
  length_limits_.clear();
  logit_rows_.clear();
  tasks_.clear();
  for (const SlotWork& work : plan.work)
    if (is_own(work.slot)) take_tokens(work);
  if (!work_.empty()) run();
  if (!plan.work.empty() && route_.all.rank() == 0) digests_.push_back(digest_);
}

void Worker::run() {
  // Spans into the block tables are taken once all tables have their final length.
  for (size_t i = 0; i < work_.size(); ++i) chunks_[i].blocks = slot_of(work_[i]->slot).blocks;
  const Tensor logits = model_.forward({tokens_, chunks_, length_limits_, logit_rows_});
  if (sampler_) report(sample(logits));
}

// The head keeps what it sampled; of the other ranks of a last stage one tells it.
void Worker::report(StepResult result) {
  const int rank = route_.all.rank();
  if (rank == 0) {
    results_.push_back(std::move(result));
  } else if (rank == route_.reporters[route_.replica]) {
    const std::vector<std::byte> message = encode(result);
    const auto bytes = static_cast<uint64_t>(message.size());
    route_.all.send_host(0, std::as_bytes(std::span(&bytes, 1)));
    route_.all.send_host(0, message);
  }
}

StepResult Worker::result(const StepPlan& plan) {
  const Timing timing(*this);
  check(!digests_.empty(), "a step was executed");
  StepResult result{.digest = digests_.front(), .work = std::vector<WorkResult>(plan.work.size())};
  digests_.pop_front();
  for (uint32_t replica = 0; replica < limits_.replicas; ++replica) {
    std::vector<WorkResult*> places;
    for (size_t i = 0; i < plan.work.size(); ++i)
      if (limits_.replica_of(plan.work[i].slot) == replica) places.push_back(&result.work[i]);
    if (places.empty()) continue;
    const int reporter = route_.reporters[replica];
    StepResult part = result_of(reporter, result.digest);
    if (part.work.size() != places.size()) parted_from(reporter);
    for (size_t i = 0; i < places.size(); ++i) *places[i] = std::move(part.work[i]);
  }
  return result;
}

// Of one replica, its oldest that was not taken yet.
StepResult Worker::result_of(int reporter, uint64_t digest) {
  StepResult result;
  if (reporter == 0) {
    check(!results_.empty(), "the head has sampled");
    result = std::move(results_.front());
    results_.pop_front();
    return result;
  }
  uint64_t bytes = 0;
  route_.all.receive_host(reporter, std::as_writable_bytes(std::span(&bytes, 1)));
  if (bytes > kMostResultBytes) parted_from(reporter);
  std::vector<std::byte> message(bytes);
  route_.all.receive_host(reporter, message);
  result = decode_step_result(message);
  if (result.digest != digest) parted_from(reporter);
  return result;
}

void Worker::apply_changes(const StepPlan& plan) {
  for (uint32_t released : plan.releases) {
    if (!is_own(released)) continue;
    Slot& slot = slot_of(released);
    if (!slot.used) parted("it frees slot {}, which is free", released);
    slot = {};
  }
  for (const Admission& admission : plan.admissions) {
    if (!is_own(admission.slot)) continue;
    Slot& slot = slot_of(admission.slot);
    if (slot.used) parted("it admits a sequence to slot {}, which is in use", admission.slot);
    slot.used = true;
    slot.admission = admission;
    slot.length = admission.cached;
    for (size_t i = 0; i < admission.cached_ids.size(); ++i)
      slot.counts[admission.cached_ids[i]] +=
          static_cast<int64_t>(i) >= admission.prompt_tokens ? 1 : 0;
  }
}

// The work's tokens become rows of the step, with a task for each row whose logits are wanted.
void Worker::take_tokens(const SlotWork& work) {
  Slot& slot = slot_of(work.slot);
  if (!slot.used) parted("it has work for slot {}, which is free", work.slot);
  if (work.position != slot.length) {
    parted("slot {} is at position {}, not {}", work.slot, slot.length, work.position);
  }
  const std::span<const int32_t> tokens(work.tokens);
  const auto count = std::ssize(tokens);
  slot.blocks.insert(slot.blocks.end(), work.blocks.begin(), work.blocks.end());
  const int64_t room = static_cast<int64_t>(slot.blocks.size()) * model_.cache().block_size();
  if (slot.length + count > std::min(room, max_seq_len_)) {
    parted("slot {} has room for {} tokens, {} are to be in it", work.slot,
           std::min(room, max_seq_len_), slot.length + count);
  }

  work_.push_back(&work);
  const auto first_row = static_cast<int64_t>(tokens_.size());
  chunks_.push_back({.first_row = first_row, .tokens = count, .position = slot.length});
  length_limits_.push_back(slot.admission.length_limit);
  tokens_.insert(tokens_.end(), tokens.begin(), tokens.end());
  if (slot.admission.sampling.penalizes()) {
    for (int64_t i = 0; i < count; ++i) {
      const bool output = slot.length + i >= slot.admission.prompt_tokens;
      slot.counts[tokens[static_cast<size_t>(i)]] += output ? 1 : 0;
    }
  }
  slot.length += count;

  const int64_t first_wanted = work.rows == LogitRows::all    ? 0
                               : work.rows == LogitRows::last ? count - 1
                                                              : count;
  for (int64_t i = first_wanted; i < count; ++i) {
    const bool last = i + 1 == count;
    RowTask task{.position = work.position + i + 1};
    task.sample = last && work.sample;
    if (task.sample) task.allowed = work.allowed;
    task.params = slot.admission.sampling;
    task.counts = &slot.counts;
    task.report = slot.admission.report;
    if (work.rows == LogitRows::all)
      task.target = last ? work.next_token : tokens[static_cast<size_t>(i + 1)];
    tasks_.push_back(task);
    logit_rows_.push_back(first_row + i);
  }
}

StepResult Worker::sample(Tensor logits) {
  StepResult result{.digest = digest_, .work = std::vector<WorkResult>(work_.size())};
  if (tasks_.empty()) return result;
  std::vector<RowResult> rows = sampler_->run(logits, tasks_, digest_);
  size_t next = 0;
  for (size_t i = 0; i < work_.size(); ++i) {
    const SlotWork& work = *work_[i];
    const int64_t count = work.rows == LogitRows::all    ? work.token_count()
                          : work.rows == LogitRows::last ? 1
                                                         : 0;
    for (int64_t row = 0; row < count; ++row)
      result.work[i].rows.push_back(std::move(rows[next++]));
    if (work.sample) result.work[i].token = result.work[i].rows.back().token;
  }
  return result;
}

// What the other replicas do is noted, too, so that the digests of all ranks compare.
void Worker::note(const StepPlan& plan) {
  note(plan.step);
  for (const Admission& admission : plan.admissions) {
    note(admission.slot);
    note(admission.sequence);
    note(static_cast<uint64_t>(admission.cached));
  }
  for (const SlotWork& work : plan.work) {
    for (const int32_t token : work.tokens) note(static_cast<uint64_t>(token));
    note(work.slot);
    note(static_cast<uint64_t>(work.position + work.token_count()));
  }
}

RankFigures Worker::figures() const {
  RankFigures figures = figures_;
  figures.pid = getpid();
  figures.moved_bytes = model_.moved_bytes();
  figures.memory_bytes = process_memory();
  return figures;
}

void Worker::note(uint64_t value) { digest_ = (digest_ ^ value) * kFnvPrime; }

int32_t run_worker(Worker& worker, ControlPlane& control, double silence_s) {
  const std::chrono::duration<double> silence(silence_s);
  for (;;) {
    Bytes message;
    control.set_phase("idle");
    const auto asked = std::chrono::steady_clock::now();
    control.broadcast(message, Deadline::after(silence));
    worker.count_plan_wait(
        std::chrono::duration<double>(std::chrono::steady_clock::now() - asked).count());
    const StepPlan plan = decode_step_plan(message, worker.limits());
    control.set_phase(describe(plan));
    if (plan.answered()) control.all_gather(encode(worker.figures()), Deadline::after(silence));
    worker.execute(plan);
    if (plan.stop) return *plan.stop;
  }
}

}  // namespace dinfer
