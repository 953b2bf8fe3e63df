#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/plan_executor.h"

namespace dinfer {
namespace {

SchedulerLimits replicated(SchedulerLimits limits, int32_t replicas) {
  limits.replicas = replicas;
  return limits;
}

// By replica: how many items of the plan are for it.
std::vector<size_t> shares(const StepPlan& plan, const SchedulerLimits& limits) {
  std::vector<size_t> items(static_cast<size_t>(limits.replicas));
  for (const SlotWork& work : plan.work) ++items[work.slot / static_cast<size_t>(limits.max_seqs)];
  return items;
}

TEST(SchedulerReplicas, sequences_are_dealt_out_evenly_each_replica_within_its_own_limits) {
  const SchedulerLimits bounds = replicated(limits(4, 8, 20), 2);
  Scheduler scheduler(bounds);
  PlanExecutor executor(scheduler);
  for (int i = 0; i < 8; ++i) scheduler.add({.prompt = prompt(4, 100 * i), .max_tokens = 3});
  executor.step();
  EXPECT_EQ(shares(executor.plan, bounds), (std::vector<size_t>{2, 2})) << "8 rows each";
  executor.step();
  EXPECT_EQ(scheduler.running(), 8u);
  EXPECT_EQ(scheduler.running(0), 4u);
  EXPECT_EQ(scheduler.running(1), 4u);
  EXPECT_EQ(scheduler.waiting(), 0u);
  executor.run();
  EXPECT_EQ(executor.finished.size(), 8u);
}

TEST(SchedulerReplicas, a_sequence_goes_where_its_beginning_is_until_too_many_do) {
  const SchedulerLimits bounds = replicated(caching(limits(8, 4096, 3000)), 2);
  Scheduler scheduler(bounds);
  PlanExecutor executor(scheduler);
  const auto replica_of = [&](const std::vector<int32_t>& tokens) {
    scheduler.add({.prompt = tokens, .max_tokens = 500});
    executor.step();
    return executor.plan.admissions.at(0).slot / 8;
  };
  EXPECT_EQ(replica_of(prompt(300)), 0u);
  EXPECT_EQ(replica_of(prompt(20, 5000)), 1u) << "the other one has less to do";
  EXPECT_EQ(replica_of(prompt(300)), 0u) << "its keys and values are there";
  EXPECT_GE(executor.plan.admissions.at(0).cached, 296);
  EXPECT_EQ(replica_of(prompt(300)), 0u);
  EXPECT_EQ(replica_of(prompt(300)), 0u);
  EXPECT_EQ(replica_of(prompt(300)), 1u) << "three sequences more weigh more than 300 tokens";
  EXPECT_EQ(executor.plan.admissions.at(0).cached, 0);
}

TEST(SchedulerReplicas, a_replica_without_room_leaves_sequences_to_the_other) {
  const SchedulerLimits bounds = replicated(limits(4, 64, 10), 2);  // 40 tokens each
  Scheduler scheduler(bounds);
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(38), .max_tokens = 2});
  scheduler.add({.prompt = prompt(2), .max_tokens = 4});
  scheduler.add({.prompt = prompt(30), .max_tokens = 2});
  scheduler.add({.prompt = prompt(30), .max_tokens = 2});
  executor.step();
  EXPECT_EQ(scheduler.running(0), 1u);
  EXPECT_EQ(scheduler.running(1), 2u);
  EXPECT_EQ(scheduler.waiting(), 1u);
  executor.run();
  EXPECT_EQ(executor.finished.size(), 4u);
}

TEST(SchedulerReplicas, the_youngest_of_the_same_replica_gives_way) {
  // In each replica two sequences of up to 4 blocks share 5.
  Scheduler scheduler(replicated(limits(2, 8, 5, 16), 2));
  PlanExecutor executor(scheduler);
  for (int i = 0; i < 4; ++i) scheduler.add({.prompt = prompt(6), .max_tokens = 10});
  executor.run();
  EXPECT_GT(scheduler.preemptions(), 1u);
  for (uint64_t id : {1, 2, 3, 4}) {
    std::vector<int32_t> expected(10);
    std::iota(expected.begin(), expected.end(), 1006);
    EXPECT_EQ(executor.outputs.at(id), expected);
  }
}

}  // namespace
}  // namespace dinfer
