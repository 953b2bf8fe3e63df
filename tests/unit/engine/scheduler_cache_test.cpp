#include <map>
#include <tuple>

#include <gtest/gtest.h>

#include "tests/support/plan_executor.h"

namespace dinfer {
namespace {

TEST(SchedulerCache, a_known_beginning_is_not_computed_again) {
  Scheduler scheduler(caching(limits(2, 64, 40)));
  PlanExecutor executor(scheduler);
  const auto cached_of = [&](SequenceSpec spec) {
    scheduler.add(std::move(spec));
    executor.step();
    const int64_t cached = executor.plan.admissions.at(0).cached;
    executor.run();
    return cached;
  };
  EXPECT_EQ(cached_of({.prompt = prompt(18), .max_tokens = 4}), 0);
  EXPECT_EQ(cached_of({.prompt = prompt(18), .max_tokens = 4}), 16);
  EXPECT_EQ(cached_of({.prompt = prompt(16), .max_tokens = 4}), 12) << "one token is computed";
  EXPECT_EQ(cached_of({.prompt = prompt(30), .max_tokens = 4}), 16);
  EXPECT_EQ(cached_of({.prompt = prompt(18, 101), .max_tokens = 4}), 0) << "other tokens";
  EXPECT_EQ(cached_of({.prompt = prompt(18), .max_tokens = 4, .salt = "other"}), 0);
  EXPECT_EQ(cached_of({.prompt = prompt(18), .max_tokens = 4, .salt = "other"}), 16);
  EXPECT_EQ(cached_of({.prompt = prompt(18), .max_tokens = 0, .score = true}), 0) << "all logits";
  // An answer is a beginning too.
  std::vector<int32_t> longer = prompt(18);
  for (int32_t id : executor.outputs.at(1)) longer.push_back(id);
  longer.push_back(5);
  EXPECT_EQ(cached_of({.prompt = longer, .max_tokens = 1}), 20);
  SequenceSpec penalized{.prompt = prompt(18), .max_tokens = 1};
  penalized.sampling.repetition_penalty = 2;
  scheduler.add(penalized);
  executor.step();
  EXPECT_EQ(executor.plan.admissions.at(0).cached_ids, prompt(16));
  executor.run();
  EXPECT_EQ(scheduler.free_blocks(), 40);
}

TEST(SchedulerCache, cached_blocks_make_room_for_others) {
  Scheduler scheduler(caching(limits(1, 64, 6)));
  PlanExecutor executor(scheduler);
  for (int32_t round = 0; round < 5; ++round) {
    scheduler.add({.prompt = prompt(21, 100 * round), .max_tokens = 2});
    executor.run();
    EXPECT_EQ(scheduler.free_blocks(), 6);
  }
  EXPECT_EQ(scheduler.cached_tokens(), 0u);
  scheduler.add({.prompt = prompt(21, 400), .max_tokens = 2});
  executor.run();
  EXPECT_EQ(scheduler.cached_tokens(), 20u);
}

TEST(SchedulerCache, shared_blocks_survive_preemption_removal_and_crowds) {
  for (const auto& [blocks, depth, replicas] : {std::tuple{14, 1, 1},
                                                {25, 1, 1},
                                                {60, 1, 1},
                                                {14, 2, 1},
                                                {25, 2, 1},
                                                {60, 3, 1},
                                                {14, 4, 1},
                                                {14, 1, 2},
                                                {25, 2, 3}}) {
    SCOPED_TRACE(testing::Message() << blocks << " blocks, " << depth << " steps under way, "
                                    << replicas << " replicas");
    SchedulerLimits bounds = caching(limits(5, 17, blocks, 50));
    bounds.depth = depth;
    bounds.replicas = replicas;
    Scheduler scheduler(bounds);
    PlanExecutor executor(scheduler);
    std::map<uint64_t, size_t> expected;
    for (int i = 0; i < 120; ++i) {
      const int64_t length = 1 + (i * 7) % 40;
      const size_t output = 1 + (i * 5) % 9;
      const uint64_t id = scheduler.add({.prompt = prompt(length, 100 * (i % 3)),
                                         .max_tokens = static_cast<int64_t>(output),
                                         .salt = i % 5 == 0 ? "a" : ""});
      if (i % 11 != 10) expected[id] = output;
      if (i % 3 == 0) executor.step();
      if (i % 11 == 10) scheduler.remove(id);
    }
    executor.run();
    for (const auto& [id, count] : expected) EXPECT_EQ(executor.outputs.at(id).size(), count) << id;
    executor.step();
    EXPECT_EQ(scheduler.free_blocks(), blocks * replicas);
    EXPECT_GT(scheduler.cached_tokens(), 0u);
  }
}

}  // namespace
}  // namespace dinfer
