#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/plan_executor.h"

namespace dinfer {
namespace {

class SchedulerDepth : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Stages, SchedulerDepth, testing::Values(1, 2, 3, 5));

TEST_P(SchedulerDepth, many_sequences_of_all_kinds_come_to_their_ends) {
  SchedulerLimits bounds = limits(5, 11, 12, 40);
  bounds.depth = GetParam();
  Scheduler scheduler(bounds);
  PlanExecutor executor(scheduler);
  std::map<uint64_t, size_t> expected;
  for (int i = 0; i < 60; ++i) {
    const int64_t length = 1 + (i * 7) % 30;
    const int64_t output = 1 + (i * 5) % 9;
    const bool score = i % 4 == 0;
    const uint64_t id =
        scheduler.add({.prompt = prompt(length), .max_tokens = score ? 0 : output, .score = score});
    if (!score) expected[id] = static_cast<size_t>(output);
  }
  executor.run();
  EXPECT_EQ(executor.finished.size(), 60u);
  for (const auto& [id, count] : expected) EXPECT_EQ(executor.outputs.at(id).size(), count) << id;
}

TEST(SchedulerStages, every_stage_has_a_part_of_the_decoding_sequences) {
  SchedulerLimits bounds = limits(8, 64, 40);
  bounds.depth = 2;
  Scheduler scheduler(bounds);
  for (int i = 0; i < 8; ++i) scheduler.add({.prompt = prompt(3), .max_tokens = 5});
  const auto commit = [&](const StepPlan& plan) {
    scheduler.commit(plan, std::vector<int32_t>(plan.work.size(), 7));
  };
  const StepPlan prompts = scheduler.next().value();
  EXPECT_EQ(prompts.work.size(), 8u);
  EXPECT_FALSE(scheduler.next()) << "all of them wait for their first token";
  commit(prompts);
  const StepPlan first = scheduler.next().value(), second = scheduler.next().value();
  EXPECT_EQ(first.work.size(), 4u);
  EXPECT_EQ(second.work.size(), 4u);
  std::set<uint32_t> slots;
  for (const StepPlan* plan : {&first, &second})
    for (const SlotWork& work : plan->work) slots.insert(work.slot);
  EXPECT_EQ(slots.size(), 8u);
  commit(first);
  EXPECT_EQ(scheduler.next().value().work.size(), 4u);
}

TEST(SchedulerStages, chunks_of_one_prompt_are_under_way_together) {
  SchedulerLimits bounds = limits(2, 8, 20);
  bounds.depth = 3;
  Scheduler scheduler(bounds);
  scheduler.add({.prompt = prompt(20), .max_tokens = 2});
  for (const int64_t tokens : {8, 8, 4})
    EXPECT_EQ(scheduler.next().value().work.at(0).token_count(), tokens);
}

TEST(SchedulerStages, a_sequence_removed_under_way_has_no_outcome) {
  SchedulerLimits bounds = limits(1, 8, 8);
  bounds.depth = 2;
  Scheduler scheduler(bounds);
  const uint64_t gone = scheduler.add({.prompt = prompt(4)});
  const StepPlan plan = scheduler.next().value();
  EXPECT_TRUE(scheduler.remove(gone));
  const uint64_t next = scheduler.add({.prompt = prompt(4)});
  const StepPlan after = scheduler.next().value();
  EXPECT_EQ(after.releases, std::vector<uint32_t>{0});
  EXPECT_EQ(after.admissions.at(0).slot, 0u) << "the slot is used again at once";
  EXPECT_TRUE(scheduler.commit(plan, std::vector<int32_t>{7}).empty());
  EXPECT_EQ(scheduler.commit(after, std::vector<int32_t>{8}).at(0).sequence, next);
}

}  // namespace
}  // namespace dinfer
