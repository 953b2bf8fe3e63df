#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace dinfer {

// Limits with blocks of 4 tokens; sequences as long as all of them, where nothing is said.
SchedulerLimits limits(int32_t seqs, int64_t rows, int32_t blocks, int64_t max_seq_len = 0);

// The same with the prefix cache.
SchedulerLimits caching(SchedulerLimits limits);

// Tokens `first`, `first` + 1, and so on.
std::vector<int32_t> prompt(int64_t length, int32_t first = 100);

// Stands for all ranks: checks each plan against the state that a worker would have, and "samples"
// 1000 + position.
class PlanExecutor {
 public:
  explicit PlanExecutor(Scheduler& scheduler) : scheduler_(scheduler) {}

  // Begins as many steps as may be under way, and ends the oldest.
  std::vector<Outcome> step();

  // Until the scheduler has nothing to do.
  void run();

  StepPlan plan;  // the one that ended last
  std::map<uint64_t, std::vector<int32_t>> outputs;
  std::map<uint64_t, FinishReason> finished;

 private:
  struct Slot {
    uint64_t sequence = 0;
    size_t cached = 0;
    std::vector<int32_t> tokens, blocks;
    std::optional<int32_t> sampled;
  };

  void begin(StepPlan plan);
  void admit(const StepPlan& plan);
  void take(Slot& slot, const SlotWork& work);
  void take_cached(Slot& slot, const SlotWork& work);
  size_t replica_of(uint32_t slot) const;
  int32_t& cached(uint32_t slot, const std::vector<int32_t>& blocks, size_t i);
  void expect_blocks_disjoint();

  Scheduler& scheduler_;
  std::deque<std::pair<StepPlan, std::vector<int32_t>>> under_way_;
  std::map<uint32_t, Slot> slots_;
  std::vector<std::vector<int32_t>> cache_{
      // by replica, the token of each place
      static_cast<size_t>(scheduler_.limits().replicas), std::vector<int32_t>(4 * 1000, -1)};
};

}  // namespace dinfer
