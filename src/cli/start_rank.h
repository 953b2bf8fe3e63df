#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <future>
#include <optional>
#include <vector>

#include "cli/start.h"
#include "cli/start_device.h"
#include "cli/start_layout.h"
#include "cli/start_load.h"
#include "cli/start_model.h"
#include "cli/start_peers.h"
#include "cli/start_texts.h"

namespace dinfer {

// One rank on its way from options to the loop. Each member is made from those before it.
class StartingRank {
 public:
  StartingRank(const Options& options, const StartRequest& request,
               std::chrono::steady_clock::time_point begin, const Bootstrap& boot)
      : options_(options), request_(request), begin_(begin), boot_(boot) {}

  // From connected ranks to the end of the loop; returns the exit code.
  int run(const Client& client);

  // Ends what ranks talk through, before what that rests on.
  void disconnect();

 private:
  void phase(const char* name, const std::function<void()>& work);
  void read_model();
  void finish_texts();
  void connect();
  void split_by_speed();
  void agree_on_model();
  void plan_memory();
  void report_plan() const;
  void load();
  void measure();
  int loop(const Client& client);
  int lead(const Client& client, SignalWatch& signals);

  const World& world() const { return boot_.world; }
  const Shard& shard() const { return layout_.shard_of(world().rank); }
  bool is_head() const { return world().rank == 0; }
  void together(const std::function<void()>& work);

  KvType kv_type() const;
  uint64_t kv_block_bytes(const Shard& shard) const;
  uint64_t activation_bytes() const;
  StepLimits limits_of_step() const;
  CutRules rules() const;

  const Options& options_;
  const StartRequest& request_;
  const std::chrono::steady_clock::time_point begin_;
  const Bootstrap& boot_;
  ModelSource model_;
  std::future<ModelTexts> reading_texts_;  // on the head
  ModelTexts texts_;
  Layout layout_;
  RankDevice own_;
  SchedulerLimits limits_;
  RankPeers peers_;
  std::vector<RankMemory> memory_;  // by rank
  std::optional<LoadedRank> loaded_;
  std::vector<WeightBytes> read_bytes_;  // of weights in a step, by rank
  std::vector<double> measured_;      // by rank
};

}  // namespace dinfer
