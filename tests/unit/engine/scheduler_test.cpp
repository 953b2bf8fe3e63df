#include "engine/scheduler.h"

#include <memory>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/plan_executor.h"

namespace dinfer {
namespace {

TEST(Scheduler, a_prompt_runs_in_chunks_and_samples_at_its_end) {
  Scheduler scheduler(limits(2, 8, 10));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(20), .max_tokens = 2});
  executor.step();
  ASSERT_EQ(executor.plan.work.size(), 1u);
  EXPECT_EQ(executor.plan.work[0].tokens, prompt(8));
  EXPECT_EQ(executor.plan.work[0].rows, LogitRows::none);
  executor.step();
  executor.step();
  EXPECT_EQ(executor.plan.work[0].tokens, prompt(4, 116));
  EXPECT_TRUE(executor.plan.work[0].sample);
  executor.step();
  EXPECT_EQ(executor.plan.work[0].tokens, std::vector<int32_t>{1020});
  EXPECT_EQ(executor.finished.at(1), FinishReason::length);
  EXPECT_EQ(executor.outputs.at(1), (std::vector<int32_t>{1020, 1021}));
}

TEST(Scheduler, ends_at_an_end_token_and_at_the_full_context) {
  Scheduler scheduler(limits(2, 8, 20, 12));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(5), .eos = {1007}});
  scheduler.add({.prompt = prompt(5)});
  scheduler.add({.prompt = prompt(5), .max_tokens = INT64_MAX});
  executor.run();
  EXPECT_EQ(executor.finished.at(1), FinishReason::stop);
  EXPECT_EQ(executor.outputs.at(1), (std::vector<int32_t>{1005, 1006, 1007}));
  for (const uint64_t id : {2, 3}) {
    EXPECT_EQ(executor.finished.at(id), FinishReason::length);
    EXPECT_EQ(executor.outputs.at(id).size(), 7u) << "5 + 7 = 12 tokens";
  }
}

TEST(Scheduler, a_prompt_longer_than_the_context_names_both_lengths) {
  Scheduler scheduler(limits(1, 8, 20, 12));
  EXPECT_EQ(scheduler.add({.prompt = prompt(12), .max_tokens = 0}), 1u);
  try {
    scheduler.add({.prompt = prompt(12)});
    FAIL() << "12 tokens and an answer do not fit into 12";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::usage);
    EXPECT_NE(std::string(error.what()).find("12"), std::string::npos);
  }
  EXPECT_THROW(scheduler.add({}), Error);
}

TEST(Scheduler, scoring_asks_for_every_row_once_and_names_the_next_token) {
  Scheduler scheduler(limits(1, 8, 20));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(10), .max_tokens = 0, .score = true});
  executor.step();
  EXPECT_EQ(executor.plan.work[0].rows, LogitRows::all);
  EXPECT_EQ(executor.plan.work[0].next_token, 108);
  executor.step();
  EXPECT_EQ(executor.plan.work[0].next_token, -1);
  EXPECT_FALSE(executor.plan.work[0].sample);
  EXPECT_EQ(executor.finished.at(1), FinishReason::stop);
}

TEST(Scheduler, scoring_keeps_within_the_logit_rows) {
  SchedulerLimits narrow = limits(2, 16, 20);
  narrow.max_logit_rows = 3;
  Scheduler scheduler(narrow);
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(10), .max_tokens = 0, .score = true});
  scheduler.add({.prompt = prompt(10), .max_tokens = 4});
  executor.run();
  EXPECT_EQ(executor.finished.size(), 2u);
}

TEST(Scheduler, the_youngest_gives_way_and_loses_no_token) {
  // Two sequences of up to 4 blocks each share 5.
  Scheduler scheduler(limits(2, 8, 5, 16));
  PlanExecutor executor(scheduler);
  scheduler.add({.prompt = prompt(6), .max_tokens = 10});
  scheduler.add({.prompt = prompt(6), .max_tokens = 10});
  executor.run();
  EXPECT_GT(scheduler.preemptions(), 0u);
  for (uint64_t id : {1, 2}) {
    std::vector<int32_t> expected(10);
    std::iota(expected.begin(), expected.end(), 1006);
    EXPECT_EQ(executor.outputs.at(id), expected);
  }
}

// Allows the token that the executor takes next, and ends after so many.
class Counted : public Constraint {
 public:
  explicit Counted(int left) : left_(left) {}
  const TokenMask& allowed() const override { return mask_; }
  bool take(int32_t token) override {
    taken.push_back(token);
    return --left_ > 0;
  }
  std::vector<int32_t> taken;

 private:
  int left_;
  TokenMask mask_{1};
};

TEST(Scheduler, a_constraint_gives_masks_and_ends_its_sequence) {
  Scheduler scheduler(limits(2, 8, 6));
  PlanExecutor executor(scheduler);
  const auto constraint = std::make_shared<Counted>(5);
  const uint64_t bound = scheduler.add({.prompt = prompt(7), .constraint = constraint});
  const uint64_t free = scheduler.add({.prompt = prompt(3), .max_tokens = 12});
  while (!scheduler.idle()) {
    executor.step();
    for (const SlotWork& work : executor.plan.work)
      EXPECT_EQ(!work.allowed.empty(), work.sample && work.slot == 0);
    if (executor.finished.contains(bound)) break;
  }
  EXPECT_EQ(executor.finished.at(bound), FinishReason::stop);
  EXPECT_EQ(constraint->taken, executor.outputs.at(bound));
  EXPECT_EQ(constraint->taken.size(), 5u);
  executor.run();
  EXPECT_EQ(executor.outputs.at(free).size(), 12u);
}

TEST(Scheduler, a_removed_sequence_frees_its_slot_and_blocks) {
  Scheduler scheduler(limits(1, 8, 4));
  PlanExecutor executor(scheduler);
  const uint64_t first = scheduler.add({.prompt = prompt(10)});
  const uint64_t second = scheduler.add({.prompt = prompt(10)});
  const uint64_t third = scheduler.add({.prompt = prompt(10), .max_tokens = 1});
  executor.step();
  EXPECT_TRUE(scheduler.remove(first));
  EXPECT_TRUE(scheduler.remove(second)) << "still waiting";
  EXPECT_FALSE(scheduler.remove(first));
  executor.run();
  EXPECT_EQ(executor.outputs.size(), 1u);
  EXPECT_EQ(executor.outputs.at(third).size(), 1u);
}

}  // namespace
}  // namespace dinfer
