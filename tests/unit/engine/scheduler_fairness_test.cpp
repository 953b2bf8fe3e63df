#include <map>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/plan_executor.h"

namespace dinfer {
namespace {

TEST(SchedulerFairness, decoding_sequences_come_before_prompts_in_one_step) {
  Scheduler scheduler(limits(2, 8, 20));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(4), .max_tokens = 10});
  executor.step();
  scheduler.add({.prompt = prompt(20), .max_tokens = 1});
  executor.step();
  ASSERT_EQ(executor.plan.work.size(), 2u);
  EXPECT_EQ(executor.plan.work[0].slot, 0u);
  EXPECT_EQ(executor.plan.work[0].token_count(), 1);
  EXPECT_EQ(executor.plan.work[1].token_count(), 7);
}

// Tokens of a plan's work, by sequence as admitted in `slots`.
std::vector<int64_t> rows_of(const StepPlan& plan) {
  std::vector<int64_t> rows;
  for (const SlotWork& work : plan.work) rows.push_back(work.token_count());
  return rows;
}

TEST(SchedulerFairness, short_prompts_pass_a_long_one) {
  Scheduler scheduler(limits(6, 16, 200));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(400), .max_tokens = 1});
  executor.step();
  EXPECT_EQ(rows_of(executor.plan), (std::vector<int64_t>{16}));
  const uint64_t other = scheduler.add({.prompt = prompt(90, 1000), .max_tokens = 1});
  const uint64_t brief = scheduler.add({.prompt = prompt(5, 2000), .max_tokens = 1});
  executor.step();  // all of the shortest, what is left of one half, and the other half
  EXPECT_EQ(rows_of(executor.plan), (std::vector<int64_t>{5, 3, 8}));
  EXPECT_TRUE(executor.finished.contains(brief));
  while (!executor.finished.contains(other)) {
    executor.step();
    EXPECT_EQ(rows_of(executor.plan).back(), 8 + (executor.finished.contains(other) ? 1 : 0));
  }
  executor.step();  // all rows, where nobody else wants them
  EXPECT_EQ(rows_of(executor.plan), (std::vector<int64_t>{16}));
  scheduler.add({.prompt = prompt(350, 3000), .max_tokens = 1});
  executor.step();  // of prompts that are as long the first one comes first
  EXPECT_EQ(rows_of(executor.plan), (std::vector<int64_t>{16}));
  executor.run();
}

TEST(SchedulerFairness, who_passes_leaves_the_first_one_in_the_queue_its_place) {
  for (const auto& tight : {limits(2, 16, 200), limits(6, 16, 105)}) {
    Scheduler scheduler(tight);
    PlanExecutor executor(scheduler);
    const uint64_t running = scheduler.add({.prompt = prompt(200), .max_tokens = 1});
    executor.step();
    const uint64_t first = scheduler.add({.prompt = prompt(220, 1000), .max_tokens = 1});
    const uint64_t brief = scheduler.add({.prompt = prompt(5, 2000), .max_tokens = 1});
    while (!executor.finished.contains(running)) {
      EXPECT_FALSE(executor.finished.contains(brief));
      executor.step();
    }
    executor.step();
    executor.step();  // now that one is in the way
    EXPECT_TRUE(executor.finished.contains(brief));
    EXPECT_FALSE(executor.finished.contains(first));
    executor.run();
  }
}

TEST(SchedulerFairness, sequences_wait_for_a_slot_in_order) {
  Scheduler scheduler(limits(1, 8, 20));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(3), .max_tokens = 3});
  scheduler.add({.prompt = prompt(3), .max_tokens = 1});
  executor.step();
  EXPECT_EQ(scheduler.waiting(), 1u);
  executor.run();
  EXPECT_EQ(executor.outputs.at(1).size(), 3u);
  EXPECT_EQ(executor.outputs.at(2).size(), 1u);
}

// Position and length of each part of a sequence, which comes beside `others` more.
std::vector<std::pair<int64_t, int64_t>> parts_beside(int others, bool alone) {
  SchedulerLimits fixed = limits(4, 20, 60, 60);
  fixed.fixed_chunk = 8;
  fixed.alone = alone;
  Scheduler scheduler(fixed);
  for (int i = 0; i < others; ++i)
    scheduler.add({.prompt = prompt(5 + 9 * i), .max_tokens = 3 + 4 * i, .score = i == 1});
  const uint64_t id = scheduler.add({.prompt = prompt(19), .max_tokens = 6});
  for (int i = 0; i < others; ++i) scheduler.add({.prompt = prompt(30 - i), .max_tokens = 9});
  PlanExecutor executor(scheduler);
  std::map<uint32_t, uint64_t> owners;
  std::vector<std::pair<int64_t, int64_t>> parts;
  for (int i = 0; !scheduler.idle(); ++i) {
    EXPECT_LT(i, 1000);
    executor.step();
    EXPECT_TRUE(!alone || executor.plan.work.size() <= 1);
    for (const Admission& admission : executor.plan.admissions)
      owners[admission.slot] = admission.sequence;
    for (const SlotWork& work : executor.plan.work)
      if (owners.at(work.slot) == id) parts.emplace_back(work.position, work.token_count());
  }
  EXPECT_EQ(scheduler.preemptions(), 0u);
  EXPECT_EQ(executor.finished.size(), static_cast<size_t>(2 * others + 1));
  return parts;
}

TEST(SchedulerFairness, parts_of_a_fixed_length_do_not_depend_on_company) {
  const std::vector<std::pair<int64_t, int64_t>> wanted{{0, 8},  {8, 8},  {16, 3}, {19, 1},
                                                        {20, 1}, {21, 1}, {22, 1}, {23, 1}};
  for (const bool alone : {false, true})
    for (const int others : {0, 1, 2, 5}) EXPECT_EQ(parts_beside(others, alone), wanted) << others;
}

}  // namespace
}  // namespace dinfer
