#include <gtest/gtest.h>

#include "cli/bench_shapes.h"
#include "cli/run_answer.h"
#include "cli/start_cores.h"
#include "cli/start_layout.h"
#include "cli/start_memory.h"
#include "cli/start_split.h"

namespace dinfer {
namespace {

using Cores = std::vector<int>;

TEST(ShareOfCores, ranks_that_may_use_the_same_cores_split_them) {
  const Cores all{0, 1, 2, 3, 4, 5, 6, 7};
  EXPECT_EQ(share_of_cores({all}, 0), all);
  EXPECT_EQ(share_of_cores({all, all}, 1), (Cores{4, 5, 6, 7}));
  EXPECT_EQ(share_of_cores({all, all, all}, 0), (Cores{0, 1}));
  EXPECT_EQ(share_of_cores({all, all, all}, 2), (Cores{5, 6, 7}));
}

TEST(ShareOfCores, ranks_that_the_launcher_bound_keep_their_cores) {
  EXPECT_EQ(share_of_cores({{0, 1}, {2, 3}}, 1), (Cores{2, 3}));
}

TEST(ShareOfCores, more_ranks_than_cores_are_not_bound) {
  const Cores two{0, 1};
  EXPECT_TRUE(share_of_cores({two, two, two}, 1).empty());
}

TEST(WantedSeqLen, reaches_as_far_as_rope_scaling_where_that_is_asked_for) {
  ModelConfig config;
  config.max_position = 4096;
  Options options;
  EXPECT_EQ(wanted_seq_len(options, config), 4096);
  options.max_seq_len = 5000;
  EXPECT_THROW(wanted_seq_len(options, config), Error);
  config.longest_position = 8192;
  EXPECT_EQ(wanted_seq_len(options, config), 5000);
  options.max_seq_len = 8193;
  EXPECT_THROW(wanted_seq_len(options, config), Error);
  options.max_seq_len = 0;
  EXPECT_EQ(wanted_seq_len(options, config), 4096) << "unless asked for";
}

TEST(LayoutDepth, is_one_step_a_stage_unless_results_and_hidden_states_share_a_way) {
  ModelConfig config = published_shape("smollm2-135m");
  config.layers = 2;
  const auto depth = [&](const std::vector<int>& owners) {
    Layout layout{.pp = 3};
    layout.placement = place(config, {{0}, {1}, {2}}, owners, 32);
    return layout.depth();
  };
  EXPECT_EQ(depth({0, 0, 0, 1, 1, 2}), 3);
  EXPECT_EQ(depth({2, 2, 2, 1, 1, 0}), 3) << "the head samples";
  EXPECT_EQ(depth({0, 0, 1, 0, 0, 2}), 3);
  EXPECT_EQ(depth({0, 0, 1, 0, 0, 1}), 1);
  EXPECT_EQ(depth({1, 1, 1, 0, 2, 1}), 1);
}

constexpr uint64_t kMiB = 1 << 20;

RankMemory rank_with(uint64_t free) {
  return {.free = free, .weights = 100 * kMiB, .activations = 10 * kMiB, .kv_block = kMiB};
}

ExitCode code_of(const Options& options, int64_t seqs, int64_t seq_len,
                 const std::vector<RankMemory>& ranks) {
  try {
    plan_kv(options, seqs, seq_len, ranks);
  } catch (const Error& error) {
    return error.code();
  }
  return ExitCode::ok;
}

TEST(PlanKv, leaves_most_of_a_shared_memory_to_others) {
  const KvPlan plan = plan_kv({}, 4, 2048, {rank_with(10000 * kMiB)});
  EXPECT_EQ(plan.blocks, 2048 / 16 + 3 * (512 / 16));
  EXPECT_EQ(plan.max_seq_len, 2048);
}

TEST(PlanKv, takes_all_that_is_useful_of_memory_that_nobody_shares) {
  RankMemory gpu = rank_with(10000 * kMiB);
  gpu.shared = false;
  EXPECT_EQ(plan_kv({}, 4, 2048, {gpu, gpu}).blocks, 4 * 2048 / 16);
  EXPECT_EQ(plan_kv({}, 4, 2048, {gpu, rank_with(10000 * kMiB)}).blocks,
            2048 / 16 + 3 * (512 / 16));
  gpu.free = 410 * kMiB;
  EXPECT_EQ(plan_kv({}, 4, 2048, {gpu}).blocks, 270) << "0.9 of the room";
}

TEST(PlanKv, is_bound_by_the_rank_with_the_least_room) {
  // 210 - 110 = 100 MiB, of which 0.9: 90 blocks of 16 tokens.
  const KvPlan plan = plan_kv({}, 4, 2048, {rank_with(10000 * kMiB), rank_with(210 * kMiB)});
  EXPECT_EQ(plan.blocks, 90);
  EXPECT_EQ(plan.max_seq_len, 1440) << "without --max-seq-len the context shrinks";
}

TEST(PlanKv, long_contexts_take_rotation_tables_only_for_what_the_cache_holds) {
  RankMemory rank = rank_with(210 * kMiB);
  rank.position = kMiB / 16;  // as much as keys and values
  const int64_t longest = int64_t{1} << 31;
  const KvPlan plan = plan_kv({}, 4, longest, {rank});
  EXPECT_EQ(plan.blocks, 45);
  EXPECT_EQ(plan.max_seq_len, 45 * 16);
  EXPECT_EQ(rank.working(plan.max_seq_len), (10 + 45) * kMiB);
  // Blocks beyond those of the longest sequence need no more tables: 90 = 10 * 2 + 70.
  rank.shared = false;
  EXPECT_EQ(plan_kv({}, 64, 160, {rank}).blocks, 80);
}

TEST(PlanKv, refuses_what_the_user_asked_for_and_does_not_fit) {
  Options options;
  options.max_seq_len = 2048;
  EXPECT_EQ(code_of(options, 1, 2048, {rank_with(210 * kMiB)}), ExitCode::does_not_fit);
  options = {};
  options.kv_blocks = 91;
  EXPECT_EQ(code_of(options, 1, 2048, {rank_with(210 * kMiB)}), ExitCode::does_not_fit);
  options.kv_blocks = 90;
  EXPECT_EQ(code_of(options, 1, 2048, {rank_with(210 * kMiB)}), ExitCode::ok);
  options.max_seq_len = 1441;
  EXPECT_EQ(code_of(options, 1, 1441, {rank_with(210 * kMiB)}), ExitCode::config);
  EXPECT_EQ(code_of({}, 1, 2048, {rank_with(110 * kMiB)}), ExitCode::does_not_fit)
      << "not even one block";
}

TEST(SplitKvBlocks, are_those_that_are_asked_for_or_of_one_sequence) {
  Options options;
  options.kv_memory_fraction = 0.5;
  EXPECT_EQ(split_kv_blocks(options, 100), 2 * 7);
  EXPECT_EQ(split_kv_blocks(options, 100000), 2 * 4096 / 16);
  options.kv_blocks = 1000;
  EXPECT_EQ(split_kv_blocks(options, 100), 2000);
}

TEST(PublishedShape, has_the_parameters_that_the_name_says) {
  const auto billions = [](const char* name) {
    const ModelConfig c = published_shape(name);
    const auto layer =
        c.hidden * c.head_dim * (2 * c.heads + 2 * c.kv_heads) +
        (c.experts.count > 0 ? c.experts.count * (3 * c.experts.ffn + 1) : 3 * c.ffn) * c.hidden;
    return static_cast<double>(layer * c.layers + c.vocab * c.hidden * (c.tied_head ? 1 : 2)) / 1e9;
  };
  EXPECT_NEAR(billions("smollm2-135m"), 0.135, 0.001);
  EXPECT_NEAR(billions("tinyllama-1.1b"), 1.10, 0.01);
  EXPECT_NEAR(billions("llama-3.2-1b"), 1.236, 0.001);
  EXPECT_NEAR(billions("llama-3.1-8b"), 8.03, 0.01);
  EXPECT_NEAR(billions("llama-3.1-70b"), 70.55, 0.05);
  EXPECT_NEAR(billions("qwen2.5-7b"), 7.62, 0.01);
  EXPECT_NEAR(billions("qwen3-32b"), 32.76, 0.01);
  EXPECT_NEAR(billions("phi-3-mini"), 3.82, 0.01);
  EXPECT_NEAR(billions("gemma-3-4b"), 3.88, 0.01);
  EXPECT_NEAR(billions("gemma-3-27b"), 27.01, 0.01);
  EXPECT_NEAR(billions("mixtral-8x7b"), 46.70, 0.01);
  EXPECT_NEAR(billions("qwen3-30b-a3b"), 30.53, 0.01);
  EXPECT_THROW(published_shape("llama"), Error);
}

TEST(SamplingOf, is_the_models_unless_an_option_says_otherwise) {
  GenerationDefaults model{.temperature = 0.6, .top_p = 0.95, .top_k = 20, .do_sample = true};
  SamplingParams params = sampling_of({}, model);
  EXPECT_FLOAT_EQ(params.temperature, 0.6f);
  EXPECT_FLOAT_EQ(params.top_p, 0.95f);
  EXPECT_EQ(params.top_k, 20);
  model.do_sample = false;
  EXPECT_TRUE(sampling_of({}, model).greedy());
  Options options;
  options.top_p = 0.5;
  params = sampling_of(options, {});
  EXPECT_FLOAT_EQ(params.temperature, 1.0f) << "asked to sample";
  EXPECT_FLOAT_EQ(params.top_p, 0.5f);
  options.temperature = 0;
  EXPECT_TRUE(sampling_of(options, {}).greedy());
}

}  // namespace
}  // namespace dinfer
