#include "engine/sampler.h"

#include <cmath>
#include <map>
#include <mutex>
#include <random>

#include <gtest/gtest.h>

#include "comm/single_communicator.h"
#include "engine/vocab_slice.h"
#include "tests/support/reference_device.h"
#include "tests/support/thread_world.h"

namespace dinfer {
namespace {

std::vector<Range> cut(int64_t vocab, int ranks) {
  std::vector<Range> slices;  // uneven on purpose
  int64_t begin = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    const int64_t end = rank + 1 == ranks ? vocab : begin + vocab / ranks + (rank % 2 ? -1 : 1);
    slices.push_back({begin, end});
    begin = end;
  }
  return slices;
}

// What every rank of a group gets for these rows; all ranks must agree.
std::vector<RowResult> sample(const std::vector<std::vector<float>>& rows,
                              const std::vector<RowTask>& tasks, int ranks = 1) {
  const auto slices = cut(static_cast<int64_t>(rows[0].size()), ranks);
  std::vector<std::vector<RowResult>> results(static_cast<size_t>(ranks));
  test::spawn(ranks, [&](Communicator& group) {
    const Range own = slices[static_cast<size_t>(group.rank())];
    std::vector<float> logits;
    for (const auto& row : rows)
      logits.insert(logits.end(), row.begin() + own.begin, row.begin() + own.end);
    const std::vector<float> before = logits;
    const auto device = make_reference_device();
    results[static_cast<size_t>(group.rank())] =
        Sampler(*device, group, slices)
            .run({logits.data(), std::ssize(tasks), own.size()}, tasks, 1);
    EXPECT_EQ(logits, before) << "logits are left as they were";
  });
  for (const auto& result : results) {
    for (size_t i = 0; i < tasks.size(); ++i) EXPECT_EQ(result[i].token, results[0][i].token);
  }
  return results[0];
}

RowTask draw(SamplingParams params, int64_t position = 0) {
  return {.sample = true, .params = params, .position = position};
}

std::vector<float> random_logits(size_t vocab, uint32_t seed, float spread = 3) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, spread);
  std::vector<float> row(vocab);
  for (float& value : row) value = normal(random);
  return row;
}

std::vector<double> softmax(const std::vector<float>& row, double temperature = 1) {
  std::vector<double> p(row.begin(), row.end());
  double sum = 0;
  for (double& x : p) sum += x = std::exp(x / temperature);
  for (double& x : p) x /= sum;
  return p;
}

// Chi-square of `draws` draws at different positions against the expected shares.
double chi_square(const std::vector<float>& row, const SamplingParams& params,
                  const std::vector<double>& expected, int draws, int ranks = 1) {
  std::vector<RowTask> tasks;
  for (int i = 0; i < draws; ++i) tasks.push_back(draw(params, i));
  std::vector<double> counts(row.size());
  for (const RowResult& result : sample(std::vector(tasks.size(), row), tasks, ranks)) {
    counts[static_cast<size_t>(result.token)] += 1;
  }
  double sum = 0;
  for (size_t i = 0; i < row.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << "token " << i << " is truncated";
      continue;
    }
    const double mean = expected[i] * draws;
    sum += (counts[i] - mean) * (counts[i] - mean) / mean;
  }
  return sum;
}

TEST(Sampler, greedy_takes_the_largest_and_the_lowest_id_of_equals) {
  const std::vector<float> row{1, 5, 2, 5, 5, 0, 1, 3};
  for (int ranks : {1, 2, 4}) {
    EXPECT_EQ(sample({row}, {draw({.temperature = 0})}, ranks)[0].token, 1) << ranks;
  }
}

// Limits are the 99.9th percentiles of chi-square; the draws are fixed, so no run differs.
TEST(Sampler, draws_follow_the_softmax) {
  const std::vector<float> row{0.5f, -1, 2, 0, 1.5f, -0.5f, 1, 0.2f};
  const SamplingParams params{.temperature = 0.8f, .seed = 5};
  EXPECT_LT(chi_square(row, params, softmax(row, 0.8), 20000), 24.3);  // 7 degrees of freedom
  EXPECT_LT(chi_square(row, params, softmax(row, 0.8), 20000, 3), 24.3);
}

TEST(Sampler, truncated_draws_follow_the_renormalised_softmax) {
  const std::vector<float> row{0.5f, -1, 2, 0, 1.5f, -0.5f, 1, 0.2f};
  const auto keep = [&](std::vector<int> ids) {
    std::vector<double> p = softmax(row), kept(row.size());
    double sum = 0;
    for (int id : ids) sum += p[static_cast<size_t>(id)];
    for (int id : ids) kept[static_cast<size_t>(id)] = p[static_cast<size_t>(id)] / sum;
    return kept;
  };
  // Shares in order: 2: .392, 4: .238, 6: .144, 0: .088, 7: .065, 3: .053, 5: .032, 1: .020
  EXPECT_LT(chi_square(row, {.top_k = 3, .seed = 1}, keep({2, 4, 6}), 5000), 13.8);
  EXPECT_LT(chi_square(row, {.top_p = 0.6f, .seed = 1}, keep({2, 4}), 5000), 10.8);
  EXPECT_LT(chi_square(row, {.top_p = 0.7f, .seed = 1}, keep({2, 4, 6}), 5000), 13.8);
  EXPECT_LT(chi_square(row, {.min_p = 0.3f, .seed = 1}, keep({2, 4, 6}), 5000), 13.8);
  // top-p looks at what top-k left: 2 and 4 hold .81 of the first three.
  EXPECT_LT(chi_square(row, {.top_k = 3, .top_p = 0.8f, .seed = 1}, keep({2, 4}), 5000), 10.8);
}

TEST(Sampler, tokens_do_not_depend_on_ranks_or_batch) {
  std::vector<std::vector<float>> rows;
  std::vector<RowTask> tasks;
  const std::vector<SamplingParams> kinds{{.temperature = 0},
                                          {.temperature = 1.5f},
                                          {.top_k = 40},
                                          {.top_k = 1500},
                                          {.top_p = 0.9f},
                                          {.temperature = 3, .top_p = 0.99f},
                                          {.min_p = 0.01f},
                                          {.temperature = 9, .min_p = 0.001f},
                                          {.top_k = 50, .top_p = 0.9f, .min_p = 0.02f}};
  for (uint32_t i = 0; i < 45; ++i) {
    rows.push_back(random_logits(2000, i));
    SamplingParams params = kinds[i % kinds.size()];
    params.seed = i;
    tasks.push_back(draw(params, i * 100));
  }
  const auto alone = sample(rows, tasks, 1);
  for (int ranks : {2, 3, 9}) {
    const auto split = sample(rows, tasks, ranks);
    for (size_t i = 0; i < tasks.size(); ++i)
      EXPECT_EQ(split[i].token, alone[i].token) << ranks << " ranks, row " << i;
  }
  for (size_t i = 0; i < tasks.size(); ++i) {
    EXPECT_EQ(sample({rows[i]}, {tasks[i]})[0].token, alone[i].token) << "row " << i << " alone";
  }
}

TEST(Sampler, wide_truncation_looks_at_the_whole_row) {
  // A flat row: 0.9 of its mass is 900 tokens, far more than the candidates.
  const std::vector<float> flat(1000, 0.0f);
  std::vector<RowTask> tasks;
  for (int i = 0; i < 400; ++i) tasks.push_back(draw({.top_p = 0.9f, .seed = 3}, i));
  int32_t largest = 0;
  for (const RowResult& result : sample(std::vector(tasks.size(), flat), tasks, 2)) {
    EXPECT_LE(result.token, 900);
    largest = std::max(largest, result.token);
  }
  EXPECT_GT(largest, 800) << "tokens beyond the candidates must be drawn too";
}

TEST(Sampler, penalties_by_hand) {
  // Prompt has 0, output has 1 once and 2 twice.
  const TokenCounts counts{{0, 0}, {1, 1}, {2, 2}};
  std::vector<float> row{4, 4, -4, 4};
  const std::vector<float> raw = row;
  const LogitChanges changes = adjust(
      row, 0, {.repetition_penalty = 2, .presence_penalty = 0.5f, .frequency_penalty = 0.25f},
      &counts, 0);
  EXPECT_EQ(row, (std::vector<float>{2, 2 - 0.75f, -8 - 1.0f, 4}));
  EXPECT_EQ(changes.size(), 3u);
  restore(row, 0, changes);
  EXPECT_EQ(row, raw);
  std::vector<float> slice{4, 4};  // ids 2 and 3
  adjust(slice, 2, {.presence_penalty = 1}, &counts, 0);
  EXPECT_EQ(slice, (std::vector<float>{3, 4}));
}

TEST(Sampler, bias_and_bans_choose_among_tokens) {
  const std::vector<std::vector<float>> row{{0, 3, 2, 1}};
  for (int ranks : {1, 2}) {
    RowTask biased = draw({.temperature = 0, .bias = {{2, -5}, {1, -5}, {2, 1}}});
    EXPECT_EQ(sample(row, {biased}, ranks)[0].token, 3);
    RowTask banned =
        draw({.temperature = 0, .bias = {{3, 9}}, .banned = {3, 1}, .banned_before = 5}, 4);
    EXPECT_EQ(sample(row, {banned}, ranks)[0].token, 2);
    banned.position = 5;
    EXPECT_EQ(sample(row, {banned}, ranks)[0].token, 3) << "the ban has ended";
  }
}

TEST(Sampler, a_mask_leaves_the_shares_of_what_it_allows) {
  const std::vector<float> row{0.5f, -1, 2, 0, 1.5f, -0.5f, 1, 0.2f};
  const TokenMask mask{0b01001011};  // 0, 1, 3, 6
  const auto p = softmax(row);
  const double sum = p[0] + p[1] + p[3] + p[6];
  std::vector<double> expected(row.size());
  for (const size_t id : {0u, 1u, 3u, 6u}) expected[id] = p[id] / sum;
  const auto chi = [&](const SamplingParams& params, int ranks) {
    std::vector<RowTask> tasks;
    for (int i = 0; i < 5000; ++i) {
      tasks.push_back(draw(params, i));
      tasks.back().allowed = mask;
    }
    std::vector<double> counts(row.size());
    for (const RowResult& result : sample(std::vector(tasks.size(), row), tasks, ranks))
      counts[static_cast<size_t>(result.token)] += 1;
    double square = 0;
    for (size_t i = 0; i < row.size(); ++i) {
      const double mean = expected[i] * 5000;
      EXPECT_TRUE(mean > 0 || counts[i] == 0) << i;
      if (mean > 0) square += (counts[i] - mean) * (counts[i] - mean) / mean;
    }
    return square;
  };
  for (const int ranks : {1, 3}) {
    EXPECT_LT(chi({.seed = 1}, ranks), 16.3) << ranks;  // 3 degrees of freedom
    EXPECT_LT(chi({.top_p = 0.9999f, .seed = 2}, ranks), 16.3) << ranks;
    EXPECT_LT(chi({.top_k = 6, .seed = 3}, ranks), 16.3) << ranks;  // more than are allowed
    EXPECT_LT(chi({.presence_penalty = 0.0f, .bias = {{2, 50}}, .seed = 4}, ranks), 16.3) << ranks;
  }
}

TEST(Sampler, a_mask_may_leave_a_rank_nothing) {
  const std::vector<float> row{9, 8, 7, 1, 2, 3, 4, 5};
  const TokenMask mask{0b00011000};
  for (const int ranks : {1, 2, 4}) {
    for (SamplingParams params : {SamplingParams{.temperature = 0},
                                  {.temperature = 0.01f, .seed = 1},
                                  {.temperature = 0.01f, .top_p = 0.5f, .seed = 1},
                                  {.temperature = 0.01f, .min_p = 0.5f, .seed = 1}}) {
      RowTask task = draw(params);
      task.allowed = mask;
      task.report = {.logprobs = true, .top = 1};
      const RowResult result = sample({row}, {task}, ranks)[0];
      EXPECT_EQ(result.token, 4) << ranks;
      EXPECT_NEAR(result.logprob, std::log(softmax(row)[4]), 1e-5) << "the model's own";
      EXPECT_EQ(result.top[0].id, 0);
    }
  }
}

TEST(Sampler, banned_tokens_are_never_drawn) {
  std::vector<RowTask> tasks;
  for (int i = 0; i < 300; ++i) {
    SamplingParams params{.temperature = 3, .banned = {0, 2}, .banned_before = 1000, .seed = 7};
    if (i % 3 == 1) params.top_p = 0.95f;
    if (i % 3 == 2) params.top_k = 3;
    tasks.push_back(draw(params, i));
  }
  const std::vector<std::vector<float>> rows(tasks.size(), {5, 1, 4, 1});
  for (int ranks : {1, 2}) {
    for (const RowResult& result : sample(rows, tasks, ranks)) EXPECT_EQ(result.token % 2, 1);
  }
}

TEST(Sampler, penalised_greedy_moves_on_and_reports_the_models_own_probability) {
  const TokenCounts counts{{1, 1}};
  RowTask task = draw({.temperature = 0, .presence_penalty = 2});
  task.counts = &counts;
  task.report = {.logprobs = true, .top = 2};
  const std::vector<float> row{0, 3, 2, 1};
  for (int ranks : {1, 2}) {
    const RowResult result = sample({row}, {task}, ranks)[0];
    const auto p = softmax(row);
    EXPECT_EQ(result.token, 2);
    EXPECT_NEAR(result.logprob, std::log(p[2]), 1e-6);
    ASSERT_EQ(result.top.size(), 2u);
    EXPECT_EQ(result.top[0].id, 1);
    EXPECT_NEAR(result.top[0].logprob, std::log(p[1]), 1e-6);
  }
}

TEST(Sampler, scores_given_tokens_and_hands_out_whole_rows) {
  const auto row = random_logits(501, 7);
  const auto p = softmax(row);
  for (int ranks : {1, 3}) {
    RowTask task{.target = 433, .report = {.logprobs = true, .top = 5, .logits = true}};
    const RowResult result = sample({row}, {task}, ranks)[0];
    EXPECT_EQ(result.token, -1);
    EXPECT_NEAR(result.logprob, std::log(p[433]), 2e-6);
    EXPECT_EQ(result.logits, row);
    for (size_t i = 1; i < 5; ++i) EXPECT_GE(result.top[i - 1].logprob, result.top[i].logprob);
  }
}

TEST(Sampler, a_rank_that_did_other_work_is_named) {
  const auto slices = cut(8, 3);
  std::mutex mutex;
  std::map<int, std::string> messages;
  test::spawn(3, [&](Communicator& group) {
    const Range own = slices[static_cast<size_t>(group.rank())];
    std::vector<float> logits(static_cast<size_t>(own.size()));
    const RowTask task = draw({.temperature = 0});
    try {
      const auto device = make_reference_device();
      Sampler(*device, group, slices)
          .run({logits.data(), 1, own.size()}, {&task, 1}, group.rank() == 2 ? 1 : 7);
    } catch (const Error& error) {
      const std::lock_guard lock(mutex);
      EXPECT_EQ(error.code(), ExitCode::peer);
      messages[group.rank()] = error.what();
    }
  });
  ASSERT_EQ(messages.size(), 3u) << "every rank sees it";
  EXPECT_NE(messages[0].find("rank 2"), std::string::npos);
}

TEST(Sampler, logits_that_are_not_finite_are_refused) {
  for (float bad : {std::nanf(""), std::numeric_limits<float>::infinity()}) {
    std::vector<float> row(16, 1.0f);
    row[11] = bad;
    const auto group = make_single_communicator();
    const RowTask task = draw({.temperature = 0});
    const auto device = make_reference_device();
    EXPECT_THROW(Sampler(*device, *group, {{0, 16}}).run({row.data(), 1, 16}, {&task, 1}, 0),
                 Error);
  }
}

TEST(VocabSlice, sums_of_exponentials_merge) {
  const auto row = random_logits(10007, 3, 8);
  double exact = 0;
  for (float x : row) exact += std::exp(double{x} * 0.5);
  ExpSum merged = exp_sum(std::span(row).first(4000), 0.5);
  merged.merge(exp_sum(std::span(row).subspan(4000), 0.5));
  EXPECT_NEAR(merged.log(), std::log(exact), 1e-6);
}

}  // namespace
}  // namespace dinfer
