#include "engine/scheduler.h"

#include <algorithm>
#include <deque>
#include <map>
#include <numeric>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

namespace dinfer {
namespace {

SchedulerLimits limits(int32_t seqs, int64_t rows, int32_t blocks, int64_t max_seq_len = 0) {
  return {.max_seqs = seqs,
          .max_batch_tokens = rows,
          .max_logit_rows = std::max<int64_t>(seqs, rows),
          .max_seq_len = max_seq_len ? max_seq_len : blocks * 4,
          .block_size = 4,
          .blocks = blocks};
}

std::vector<int32_t> prompt(int64_t length, int32_t first = 100) {
  std::vector<int32_t> ids(static_cast<size_t>(length));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

// Stands for all ranks: checks each plan against the state that a worker would have, and "samples"
// 1000 + position.
class Executor {
 public:
  explicit Executor(Scheduler& scheduler) : scheduler_(scheduler) {}

  // Begins as many steps as may be under way, and ends the oldest.
  std::vector<Outcome> step() {
    while (std::ssize(under_way_) < scheduler_.limits().depth && !scheduler_.idle()) {
      std::optional<StepPlan> next = scheduler_.next();
      if (!next) break;
      begin(*std::move(next));
    }
    if (under_way_.empty()) return {};
    std::vector<int32_t> sampled;
    std::tie(plan, sampled) = std::move(under_way_.front());
    under_way_.pop_front();
    auto outcomes = scheduler_.commit(plan, sampled);
    for (const Outcome& outcome : outcomes) {
      if (outcome.token >= 0) outputs[outcome.sequence].push_back(outcome.token);
      if (outcome.finish) finished[outcome.sequence] = *outcome.finish;
    }
    return outcomes;
  }

  void run() {
    for (int i = 0; !scheduler_.idle(); ++i) {
      ASSERT_LT(i, 10000) << "the scheduler does not come to an end";
      step();
    }
    while (!under_way_.empty()) step();
  }

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

  void begin(StepPlan plan) {
    for (uint32_t slot : plan.releases) EXPECT_EQ(slots_.erase(slot), 1u);
    for (const Admission& admission : plan.admissions) {
      const auto cached = static_cast<size_t>(admission.cached);
      EXPECT_TRUE(
          slots_.emplace(admission.slot, Slot{.sequence = admission.sequence, .cached = cached})
              .second);
    }
    std::vector<int32_t> sampled;
    const auto replicas = static_cast<size_t>(scheduler_.limits().replicas);
    std::vector<int64_t> rows(replicas), logit_rows(replicas);
    for (const SlotWork& work : plan.work) {
      Slot& slot = slots_.at(work.slot);
      const size_t replica = replica_of(work.slot);
      if (slot.cached > slot.tokens.size()) take_cached(slot, work);
      EXPECT_EQ(work.position, static_cast<int64_t>(slot.tokens.size()));
      if (slot.sampled) EXPECT_EQ(work.tokens, std::vector<int32_t>{*slot.sampled});
      slot.tokens.insert(slot.tokens.end(), work.tokens.begin(), work.tokens.end());
      slot.blocks.insert(slot.blocks.end(), work.blocks.begin(), work.blocks.end());
      EXPECT_LE(slot.tokens.size(), slot.blocks.size() * 4);
      for (size_t i = static_cast<size_t>(work.position); i < slot.tokens.size(); ++i)
        cached(work.slot, slot.blocks, i) = slot.tokens[i];
      rows[replica] += work.token_count();
      logit_rows[replica] +=
          work.rows == LogitRows::all ? work.token_count() : work.rows == LogitRows::last;
      slot.sampled.reset();
      if (work.sample) slot.sampled = 1000 + static_cast<int32_t>(slot.tokens.size());
      sampled.push_back(slot.sampled.value_or(-1));
    }
    EXPECT_LE(std::ranges::max(rows), scheduler_.limits().max_batch_tokens);
    EXPECT_LE(std::ranges::max(logit_rows), scheduler_.limits().max_logit_rows);
    expect_blocks_disjoint();
    under_way_.emplace_back(std::move(plan), std::move(sampled));
  }

  // What the cache holds of a sequence's beginning: its blocks come with its first work.
  void take_cached(Slot& slot, const SlotWork& work) {
    for (size_t i = 0; i < slot.cached; ++i)
      slot.tokens.push_back(cached(work.slot, work.blocks, i));
  }

  size_t replica_of(uint32_t slot) const {
    return slot / static_cast<size_t>(scheduler_.limits().max_seqs);
  }

  // Where the replica of the slot keeps token i of a sequence with these blocks.
  int32_t& cached(uint32_t slot, const std::vector<int32_t>& blocks, size_t i) {
    return cache_[replica_of(slot)][static_cast<size_t>(blocks.at(i / 4)) * 4 + i % 4];
  }

  // Sequences may share blocks only where the cache then holds the tokens of both.
  void expect_blocks_disjoint() {
    for (const auto& [slot, state] : slots_) {
      std::set<int32_t> own;
      for (size_t i = 0; i < state.tokens.size(); ++i) {
        own.insert(state.blocks[i / 4]);
        EXPECT_EQ(cached(slot, state.blocks, i), state.tokens[i])
            << "slot " << slot << ", token " << i;
      }
      EXPECT_EQ(own.size(), (state.tokens.size() + 3) / 4);
    }
  }

  Scheduler& scheduler_;
  std::deque<std::pair<StepPlan, std::vector<int32_t>>> under_way_;
  std::map<uint32_t, Slot> slots_;
  std::vector<std::vector<int32_t>> cache_{
      // by replica, the token of each place
      static_cast<size_t>(scheduler_.limits().replicas), std::vector<int32_t>(4 * 1000, -1)};
};

TEST(Scheduler, a_prompt_runs_in_chunks_and_samples_at_its_end) {
  Scheduler scheduler(limits(2, 8, 10));
  Executor executor(scheduler);
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

TEST(Scheduler, decoding_sequences_come_before_prompts_in_one_step) {
  Scheduler scheduler(limits(2, 8, 20));
  Executor executor(scheduler);
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

TEST(Scheduler, short_prompts_pass_a_long_one) {
  Scheduler scheduler(limits(6, 16, 200));
  Executor executor(scheduler);
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

TEST(Scheduler, who_passes_leaves_the_first_one_in_the_queue_its_place) {
  for (const auto& tight : {limits(2, 16, 200), limits(6, 16, 105)}) {
    Scheduler scheduler(tight);
    Executor executor(scheduler);
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

TEST(Scheduler, sequences_wait_for_a_slot_in_order) {
  Scheduler scheduler(limits(1, 8, 20));
  Executor executor(scheduler);
  scheduler.add({.prompt = prompt(3), .max_tokens = 3});
  scheduler.add({.prompt = prompt(3), .max_tokens = 1});
  executor.step();
  EXPECT_EQ(scheduler.waiting(), 1u);
  executor.run();
  EXPECT_EQ(executor.outputs.at(1).size(), 3u);
  EXPECT_EQ(executor.outputs.at(2).size(), 1u);
}

TEST(Scheduler, ends_at_an_end_token_and_at_the_full_context) {
  Scheduler scheduler(limits(2, 8, 20, 12));
  Executor executor(scheduler);
  scheduler.add({.prompt = prompt(5), .eos = {1007}});
  scheduler.add({.prompt = prompt(5)});
  executor.run();
  EXPECT_EQ(executor.finished.at(1), FinishReason::stop);
  EXPECT_EQ(executor.outputs.at(1), (std::vector<int32_t>{1005, 1006, 1007}));
  EXPECT_EQ(executor.finished.at(2), FinishReason::length);
  EXPECT_EQ(executor.outputs.at(2).size(), 7u) << "5 + 7 = 12 tokens";
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
  Executor executor(scheduler);
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
  Executor executor(scheduler);
  scheduler.add({.prompt = prompt(10), .max_tokens = 0, .score = true});
  scheduler.add({.prompt = prompt(10), .max_tokens = 4});
  executor.run();
  EXPECT_EQ(executor.finished.size(), 2u);
}

TEST(Scheduler, the_youngest_gives_way_and_loses_no_token) {
  // Two sequences of up to 4 blocks each share 5.
  Scheduler scheduler(limits(2, 8, 5, 16));
  Executor executor(scheduler);
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
  Executor executor(scheduler);
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
  Executor executor(scheduler);
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

TEST(Scheduler, parts_of_a_fixed_length_do_not_depend_on_company) {
  const std::vector<std::pair<int64_t, int64_t>> wanted{{0, 8},  {8, 8},  {16, 3}, {19, 1},
                                                        {20, 1}, {21, 1}, {22, 1}, {23, 1}};
  for (const bool alone : {false, true})
    for (const int others : {0, 1, 2, 5}) EXPECT_EQ(parts_beside(others, alone), wanted) << others;
}

TEST(Scheduler, a_removed_sequence_frees_its_slot_and_blocks) {
  Scheduler scheduler(limits(1, 8, 4));
  Executor executor(scheduler);
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

SchedulerLimits caching(SchedulerLimits limits) {
  limits.prefix_cache = true;
  return limits;
}

TEST(Scheduler, a_known_beginning_is_not_computed_again) {
  Scheduler scheduler(caching(limits(2, 64, 40)));
  Executor executor(scheduler);
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

TEST(Scheduler, cached_blocks_make_room_for_others) {
  Scheduler scheduler(caching(limits(1, 64, 6)));
  Executor executor(scheduler);
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

TEST(Scheduler, shared_blocks_survive_preemption_removal_and_crowds) {
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
    Executor executor(scheduler);
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
  Executor executor(scheduler);
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
  Executor executor(scheduler);
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
  Executor executor(scheduler);
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
  Executor executor(scheduler);
  for (int i = 0; i < 4; ++i) scheduler.add({.prompt = prompt(6), .max_tokens = 10});
  executor.run();
  EXPECT_GT(scheduler.preemptions(), 1u);
  for (uint64_t id : {1, 2, 3, 4}) {
    std::vector<int32_t> expected(10);
    std::iota(expected.begin(), expected.end(), 1006);
    EXPECT_EQ(executor.outputs.at(id), expected);
  }
}

class SchedulerDepth : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Stages, SchedulerDepth, testing::Values(1, 2, 3, 5));

TEST_P(SchedulerDepth, many_sequences_of_all_kinds_come_to_their_ends) {
  SchedulerLimits bounds = limits(5, 11, 12, 40);
  bounds.depth = GetParam();
  Scheduler scheduler(bounds);
  Executor executor(scheduler);
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

TEST(Scheduler, every_stage_has_a_part_of_the_decoding_sequences) {
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

TEST(Scheduler, chunks_of_one_prompt_are_under_way_together) {
  SchedulerLimits bounds = limits(2, 8, 20);
  bounds.depth = 3;
  Scheduler scheduler(bounds);
  scheduler.add({.prompt = prompt(20), .max_tokens = 2});
  for (const int64_t tokens : {8, 8, 4})
    EXPECT_EQ(scheduler.next().value().work.at(0).token_count(), tokens);
}

TEST(Scheduler, a_sequence_removed_under_way_has_no_outcome) {
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
