#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "bootstrap/control_plane.h"
#include "comm/timed_communicator.h"
#include "device/device.h"
#include "engine/rank_figures.h"
#include "engine/sampler.h"
#include "engine/step_plan.h"
#include "engine/step_result.h"
#include "model/transformer.h"

namespace dinfer {

// How the head learns what the last stages of the replicas sampled.
struct ResultRoute {
  Communicator& all;              // ranks of the job; outlives the worker
  std::vector<int> reporters{0};  // by replica: the rank that tells the head; 0: the head itself
  uint32_t replica = 0;           // that this rank is in
};

// One rank's part of steps: keeps the state of its replica's slots as plans change it, runs the
// model and, where the rank owns its head, samples.
class Worker {
 public:
  // `sampler` is none where the rank does not own the model's head. `calls`: the time that goes
  // into the communicators' calls; outlives the worker.
  Worker(Transformer& model, Sampler* sampler, const ResultRoute& route, const PlanLimits& limits,
         int64_t max_seq_len, const CallTime& calls);

  // Collective: every rank executes the same plans in the same order. A plan that does not fit the
  // slots' state is an Error(peer): the head and this rank have parted. The head may return before
  // the other ranks are done.
  void execute(const StepPlan& plan);

  // On the head, once for each plan with work, in their order: what the replicas gave. Waits for
  // it.
  StepResult result(const StepPlan& plan);

  const PlanLimits& limits() const { return limits_; }

  // What this rank has done so far.
  RankFigures figures() const;
  void count_plan_wait(double seconds) { figures_.plan_wait_s += seconds; }

 private:
  struct Slot {
    bool used = false;
    Admission admission;
    int64_t length = 0;  // tokens whose keys and values are in the cache
    std::vector<int32_t> blocks;
    TokenCounts counts;  // kept where penalties need it
  };

  class Timing;

  bool is_own(uint32_t slot) const { return limits_.replica_of(slot) == route_.replica; }
  Slot& slot_of(uint32_t slot) { return slots_[slot % limits_.slots]; }
  void follow(const StepPlan& plan);
  void apply_changes(const StepPlan& plan);
  void take_tokens(const SlotWork& work);
  void run();
  StepResult sample(Tensor logits);
  void report(StepResult result);
  StepResult result_of(int reporter, uint64_t digest);
  void note(const StepPlan& plan);
  void note(uint64_t value);  // into the digest

  Transformer& model_;
  Sampler* sampler_;
  ResultRoute route_;
  PlanLimits limits_;
  int64_t max_seq_len_;
  const CallTime& calls_;
  RankFigures figures_;
  std::vector<Slot> slots_;  // of the own replica
  uint64_t next_step_ = 1;
  uint64_t digest_ = 0xcbf29ce484222325u;
  std::deque<StepResult> results_;  // what the head sampled itself, in order
  std::deque<uint64_t> digests_;    // on the head, of the steps whose result was not taken

  // Of the step at work.
  std::vector<const SlotWork*> work_;  // of the own replica
  std::vector<int32_t> tokens_;
  std::vector<SequenceChunk> chunks_;
  std::vector<int64_t> length_limits_;
  std::vector<int64_t> logit_rows_;
  std::vector<RowTask> tasks_;
};

// The loop of every rank but the head: receives plans and executes them until one says stop;
// returns its exit code. Between steps it sleeps in the control plane; a head that is silent for
// `silence_s` seconds is an Error(peer).
int32_t run_worker(Worker& worker, ControlPlane& control, double silence_s);

}  // namespace dinfer
