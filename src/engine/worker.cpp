#include "engine/worker.h"

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
               const PlanLimits& limits, int64_t max_seq_len)
    : model_(model),
      sampler_(sampler),
      route_(route),
      limits_(limits),
      max_seq_len_(max_seq_len),
      slots_(limits.slots) {}

void Worker::execute(const StepPlan& plan) {
  if (plan.step != next_step_) parted("step {} where {} was due", plan.step, next_step_);
  ++next_step_;
  note(plan.step);
  apply_changes(plan);
  tokens_.clear();
  chunks_.clear();
  length_limits_.clear();
  logit_rows_.clear();
  tasks_.clear();
  for (const SlotWork& work : plan.work) take_tokens(work);
  if (plan.work.empty()) return;
  // Spans into the block tables are taken once all tables have their final length.
  for (size_t i = 0; i < plan.work.size(); ++i)
    chunks_[i].blocks = slots_[plan.work[i].slot].blocks;
  const Tensor logits = model_.forward({tokens_, chunks_, length_limits_, logit_rows_});
  if (sampler_) return report(sample(plan, logits));
  if (route_.all.rank() == 0) digests_.push_back(digest_);
}

// The head keeps what it sampled; of the ranks of the last stage one tells it otherwise.
void Worker::report(StepResult result) {
  if (route_.all.rank() == 0) {
    results_.push_back(std::move(result));
  } else if (route_.all.rank() == route_.reporter) {
    const std::vector<std::byte> message = encode(result);
    const auto bytes = static_cast<uint64_t>(message.size());
    route_.all.send_host(0, std::as_bytes(std::span(&bytes, 1)));
    route_.all.send_host(0, message);
  }
}

StepResult Worker::result() {
  StepResult result;
  if (route_.reporter == 0) {
    check(!results_.empty(), "a step was executed");
    result = std::move(results_.front());
    results_.pop_front();
    return result;
  }
  check(!digests_.empty(), "a step was executed");
  uint64_t bytes = 0;
  route_.all.receive_host(route_.reporter, std::as_writable_bytes(std::span(&bytes, 1)));
  if (bytes > kMostResultBytes) parted_from(route_.reporter);
  std::vector<std::byte> message(bytes);
  route_.all.receive_host(route_.reporter, message);
  result = decode_step_result(message);
  if (result.digest != digests_.front()) parted_from(route_.reporter);
  digests_.pop_front();
  return result;
}

void Worker::apply_changes(const StepPlan& plan) {
  for (uint32_t slot : plan.releases) {
    if (!slots_[slot].used) parted("it frees slot {}, which is free", slot);
    slots_[slot] = {};
  }
  for (const Admission& admission : plan.admissions) {
    Slot& slot = slots_[admission.slot];
    if (slot.used) parted("it admits a sequence to slot {}, which is in use", admission.slot);
    slot.used = true;
    slot.admission = admission;
    slot.length = admission.cached;
    for (size_t i = 0; i < admission.cached_ids.size(); ++i)
      slot.counts[admission.cached_ids[i]] +=
          static_cast<int64_t>(i) >= admission.prompt_tokens ? 1 : 0;
    note(admission.slot);
    note(admission.sequence);
    note(static_cast<uint64_t>(admission.cached));
  }
}

// The work's tokens become rows of the step, with a task for each row whose logits are wanted.
void Worker::take_tokens(const SlotWork& work) {
  Slot& slot = slots_[work.slot];
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
  for (const int32_t token : tokens) note(static_cast<uint64_t>(token));
  note(work.slot);
  note(static_cast<uint64_t>(slot.length));

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

StepResult Worker::sample(const StepPlan& plan, Tensor logits) {
  StepResult result{.digest = digest_, .work = std::vector<WorkResult>(plan.work.size())};
  if (tasks_.empty()) return result;
  std::vector<RowResult> rows = sampler_->run(logits, tasks_, digest_);
  size_t next = 0;
  for (size_t i = 0; i < plan.work.size(); ++i) {
    const SlotWork& work = plan.work[i];
    const int64_t count = work.rows == LogitRows::all    ? work.token_count()
                          : work.rows == LogitRows::last ? 1
                                                         : 0;
    for (int64_t row = 0; row < count; ++row)
      result.work[i].rows.push_back(std::move(rows[next++]));
    if (work.sample) result.work[i].token = result.work[i].rows.back().token;
  }
  return result;
}

void Worker::note(uint64_t value) { digest_ = (digest_ ^ value) * kFnvPrime; }

int32_t run_worker(Worker& worker, ControlPlane& control, double silence_s) {
  for (;;) {
    Bytes message;
    control.set_phase("idle");
    control.broadcast(message, Deadline::after(std::chrono::duration<double>(silence_s)));
    const StepPlan plan = decode_step_plan(message, worker.limits());
    control.set_phase(describe(plan));
    worker.execute(plan);
    if (plan.heartbeat())
      control.barrier(Deadline::after(std::chrono::duration<double>(silence_s)));
    if (plan.stop) return *plan.stop;
  }
}

}  // namespace dinfer
