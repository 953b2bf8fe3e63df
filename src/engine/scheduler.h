#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/kv_blocks.h"
#include "engine/step_plan.h"
#include "grammar/constraint.h"

namespace dinfer {

enum class FinishReason : uint8_t { stop, length, cancelled };

constexpr std::string_view name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::stop:
      return "stop";
    case FinishReason::length:
      return "length";
    case FinishReason::cancelled:
      return "cancelled";
  }
  return "?";
}

// Of each replica.
struct SchedulerLimits {
  int32_t max_seqs = 1;          // slots
  int64_t max_batch_tokens = 1;  // rows of a step
  int64_t max_logit_rows = 1;    // rows of a step with logits; at least max_seqs
  int64_t max_seq_len = 1;       // tokens of a sequence, prompt and output; fits into the blocks
  int32_t block_size = 16;       // tokens of a KV block
  int32_t blocks = 1;
  bool prefix_cache = false;  // sequences that begin alike share KV blocks
  int32_t depth = 1;          // steps under way at once: the stages of the model
  int32_t replicas = 1;
  // What is computed of a sequence does not depend on the others: prompts are cut into parts of so
  // many tokens (0: of what a step has room for), and a sequence has the blocks of its greatest
  // length from the start, so that none is computed again.
  int64_t fixed_chunk = 0;
  bool alone = false;  // one sequence a step and replica
};

// A sequence as the scheduler needs to know it.
struct SequenceSpec {
  std::vector<int32_t> prompt;
  SamplingParams sampling;
  ReportSpec report;
  int64_t max_tokens = -1;  // -1: until the context is full; 0: only the prompt is run
  std::vector<int32_t> eos;
  bool score = false;                      // logits of all prompt rows
  std::shared_ptr<Constraint> constraint;  // of what is sampled; may be null
  std::string salt;                        // only sequences of the same salt share KV blocks
};

// What a step did to a sequence.
struct Outcome {
  uint64_t sequence = 0;
  size_t work = 0;     // index in the plan
  int32_t token = -1;  // sampled, or -1
  std::optional<FinishReason> finish;
};

// Decides what each step does. Continuous batching, first come first served: every step takes a
// token of each decoding sequence, then fills its rows with chunks of prompts. A sequence gets the
// blocks of its known tokens when it is admitted and one more as it grows; where none is free, the
// youngest sequence gives up its blocks and waits to be computed again from its tokens. Blocks that
// hold the beginning of its tokens already are taken as they are (prefix cache). Short prompts do
// not wait for a long one: while the first prompt takes several steps, up to half of their rows go
// to shorter ones, the shortest first. Slots and blocks that the first one in the queue needs are
// not theirs.
// Replicas work side by side in every step, each within the limits and with KV blocks and slots of
// its own (slot s is one of replica s / max_seqs). A sequence goes to the replica that costs it
// least: by what is left to compute of it, since a prefix cache may hold its beginning, and by what
// is waiting there already. Preempted, it may go to another one. Up to limits.depth steps may be
// under way, so that all stages of a model have work: a sequence whose next token is not known yet
// waits for the step that samples it, and decoding sequences are dealt out to the steps in equal
// parts. Ranks take steps in order, so blocks that a step under way still writes to may go to
// another sequence. Pure logic on the head, no threads, no model.
class Scheduler {
 public:
  explicit Scheduler(const SchedulerLimits& limits);
  ~Scheduler();

  // Error(usage) naming both lengths when the prompt does not fit the context. Returns the id.
  uint64_t add(SequenceSpec spec);

  // Takes a sequence out, whatever it is doing; false when there is none of this id.
  bool remove(uint64_t id);

  bool idle() const { return waiting_.empty() && running_.empty() && releases_.empty(); }
  size_t waiting() const { return waiting_.size(); }
  size_t running() const { return running_.size(); }
  uint64_t preemptions() const { return preemptions_; }
  // Of all replicas, or of one.
  int32_t free_blocks() const;
  int32_t free_blocks(size_t replica) const { return replicas_[replica].blocks.available(); }
  size_t running(size_t replica) const;
  // Tokens of admitted sequences, and those of them that were in the cache.
  uint64_t admitted_tokens() const { return admitted_tokens_; }
  uint64_t cached_tokens() const { return cached_tokens_; }

  // The next step; without work when there is nothing to do. None when there is nothing to do
  // before the commit() of a step under way; at most limits.depth of them are.
  std::optional<StepPlan> next();

  // A step that does nothing but free slots: a heartbeat. Only while no step is under way.
  StepPlan next_idle();

  // Takes in what the oldest step under way, `plan`, sampled: one token for each work item, -1
  // where none was. Sequences that were removed meanwhile have no outcome.
  std::vector<Outcome> commit(const StepPlan& plan, std::span<const int32_t> sampled);

  const SchedulerLimits& limits() const { return limits_; }

 private:
  struct Sequence;
  struct Budget {
    int64_t rows;
    int64_t logit_rows;
  };
  using Budgets = std::vector<Budget>;  // by replica
  struct Replica {
    KvBlocks blocks;
    std::vector<uint32_t> free_slots;  // lowest is last
  };

  int64_t blocks_for(int64_t tokens) const;
  KvBlocks& blocks_of(const Sequence& sequence);
  std::vector<int64_t> loads() const;
  int64_t cached_in(const Replica& replica, const Sequence& sequence) const;
  std::vector<size_t> offers(const Sequence& sequence, const Budgets& budgets) const;
  int64_t fixed_part(const Sequence& sequence) const;
  bool fits(const Sequence& sequence, const Budget& budget) const;
  bool begin(Sequence& sequence, std::vector<int32_t>& blocks);
  void publish(Sequence& sequence);
  bool grow(Sequence& sequence, std::vector<int32_t>& appended);
  bool give_way(size_t index);
  void preempt(size_t running_index);
  std::vector<uint64_t> sequences_of(const StepPlan& plan) const;
  void release(Sequence& sequence);
  bool make_room(size_t running_index, std::vector<int32_t>& appended);
  void schedule_decodes(StepPlan& plan, Budgets& budgets);
  void schedule_chunk(Sequence& sequence, std::vector<int32_t> blocks, StepPlan& plan,
                      Budget& budget);
  bool admit(size_t place, StepPlan& plan, Budgets& budgets);
  bool may_pass(const Sequence& sequence, size_t replica) const;
  bool pass_shortest(size_t replica, int64_t shorter_than, StepPlan& plan, Budgets& budgets);
  void let_pass(StepPlan& plan, Budgets& budgets);
  std::optional<FinishReason> finished(const Sequence& sequence) const;

  SchedulerLimits limits_;
  std::vector<Replica> replicas_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::vector<std::unique_ptr<Sequence>> running_;  // in order of admission
  std::vector<Sequence*> by_slot_;                  // the running ones
  std::vector<uint32_t> releases_;                  // slots that the next plan frees
  uint64_t next_id_ = 0;
  uint64_t step_ = 0;
  std::deque<std::vector<uint64_t>> under_way_;  // steps, with the sequence of each work item
  uint64_t preemptions_ = 0;
  uint64_t admitted_tokens_ = 0, cached_tokens_ = 0;
};

}  // namespace dinfer
