#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bootstrap/control_plane.h"
#include "device/device.h"
#include "engine/sampler.h"
#include "engine/step_plan.h"
#include "model/transformer.h"

namespace dinfer {

// Logits rows of one work item of a plan.
struct WorkResult {
  int32_t token = -1;           // sampled from the last row, or -1
  std::vector<RowResult> rows;  // those that were asked for, in order of position
};

// What a step gave, by work item: the same on all ranks.
struct StepResult {
  std::vector<WorkResult> work;
};

// One rank's part of a step: keeps the slots' state as plans change it, runs the model and samples.
class Worker {
 public:
  Worker(Transformer& model, Sampler& sampler, const PlanLimits& limits, int64_t max_seq_len);

  // Collective: every rank executes the same plan. A plan that does not fit the slots' state is an
  // Error(peer): the head and this rank have parted.
  StepResult execute(const StepPlan& plan);

  const PlanLimits& limits() const { return limits_; }

 private:
  struct Slot {
    bool used = false;
    Admission admission;
    int64_t length = 0;  // tokens whose keys and values are in the cache
    int32_t last_sampled = -1;
    std::vector<int32_t> blocks;
    TokenCounts counts;  // kept where penalties need it
  };

  void apply_changes(const StepPlan& plan);
  void take_tokens(const SlotWork& work);
  StepResult sample(const StepPlan& plan, Tensor logits);
  void note(uint64_t value);  // into the digest

  Transformer& model_;
  Sampler& sampler_;
  PlanLimits limits_;
  int64_t max_seq_len_;
  std::vector<Slot> slots_;
  uint64_t next_step_ = 1;
  uint64_t digest_ = 0xcbf29ce484222325u;

  // Of the step at work.
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
