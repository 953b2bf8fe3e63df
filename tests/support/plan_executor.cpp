#include "tests/support/plan_executor.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <tuple>

#include <gtest/gtest.h>

namespace dinfer {

SchedulerLimits limits(int32_t seqs, int64_t rows, int32_t blocks, int64_t max_seq_len) {
  return {.max_seqs = seqs,
          .max_batch_tokens = rows,
          .max_logit_rows = std::max<int64_t>(seqs, rows),
          .max_seq_len = max_seq_len ? max_seq_len : blocks * 4,
          .block_size = 4,
          .blocks = blocks};
}

SchedulerLimits caching(SchedulerLimits limits) {
  limits.prefix_cache = true;
  return limits;
}

std::vector<int32_t> prompt(int64_t length, int32_t first) {
  std::vector<int32_t> ids(static_cast<size_t>(length));
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

std::vector<Outcome> PlanExecutor::step() {
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

void PlanExecutor::run() {
  for (int i = 0; !scheduler_.idle(); ++i) {
    ASSERT_LT(i, 10000) << "the scheduler does not come to an end";
    step();
  }
  while (!under_way_.empty()) step();
}

void PlanExecutor::begin(StepPlan plan) {
  admit(plan);
  std::vector<int32_t> sampled;
  const auto replicas = static_cast<size_t>(scheduler_.limits().replicas);
  std::vector<int64_t> rows(replicas), logit_rows(replicas);
  for (const SlotWork& work : plan.work) {
    Slot& slot = slots_.at(work.slot);
    const size_t replica = replica_of(work.slot);
    take(slot, work);
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

void PlanExecutor::admit(const StepPlan& plan) {
  for (uint32_t slot : plan.releases) EXPECT_EQ(slots_.erase(slot), 1u);
  for (const Admission& admission : plan.admissions) {
    const auto cached = static_cast<size_t>(admission.cached);
    EXPECT_TRUE(
        slots_.emplace(admission.slot, Slot{.sequence = admission.sequence, .cached = cached})
            .second);
  }
}

void PlanExecutor::take(Slot& slot, const SlotWork& work) {
  if (slot.cached > slot.tokens.size()) take_cached(slot, work);
  EXPECT_EQ(work.position, static_cast<int64_t>(slot.tokens.size()));
  if (slot.sampled) {
    EXPECT_EQ(work.tokens, std::vector<int32_t>{*slot.sampled});
  }
  slot.tokens.insert(slot.tokens.end(), work.tokens.begin(), work.tokens.end());
  slot.blocks.insert(slot.blocks.end(), work.blocks.begin(), work.blocks.end());
  EXPECT_LE(slot.tokens.size(), slot.blocks.size() * 4);
  for (size_t i = static_cast<size_t>(work.position); i < slot.tokens.size(); ++i)
    cached(work.slot, slot.blocks, i) = slot.tokens[i];
}

// What the cache holds of a sequence's beginning: its blocks come with its first work.
void PlanExecutor::take_cached(Slot& slot, const SlotWork& work) {
  for (size_t i = 0; i < slot.cached; ++i) slot.tokens.push_back(cached(work.slot, work.blocks, i));
}

size_t PlanExecutor::replica_of(uint32_t slot) const {
  return slot / static_cast<size_t>(scheduler_.limits().max_seqs);
}

// Where the replica of the slot keeps token i of a sequence with these blocks.
int32_t& PlanExecutor::cached(uint32_t slot, const std::vector<int32_t>& blocks, size_t i) {
  return cache_[replica_of(slot)][static_cast<size_t>(blocks.at(i / 4)) * 4 + i % 4];
}

// Sequences may share blocks only where the cache then holds the tokens of both.
void PlanExecutor::expect_blocks_disjoint() {
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

}  // namespace dinfer
