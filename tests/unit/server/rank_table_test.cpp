#include "server/rank_table.h"

#include <gtest/gtest.h>

namespace dinfer {
namespace {

// A report of ranks that have done `steps` steps, each with so many seconds of its own work in a
// step of 10 ms.
std::vector<RankFigures> report(uint64_t steps, const std::vector<double>& compute_s,
                                double plan_wait_s = 0) {
  std::vector<RankFigures> ranks;
  for (const double compute : compute_s) {
    const auto count = static_cast<double>(steps);
    ranks.push_back({.pid = 100,
                     .steps = steps,
                     .step_s = 0.010 * count,
                     .collective_s = (0.010 - compute) * count,
                     .plan_wait_s = plan_wait_s,
                     .moved_bytes = 4096 * steps,
                     .memory_bytes = 1 << 20});
  }
  return ranks;
}

RankSummary after(const std::vector<std::vector<RankFigures>>& reports) {
  RankTable table;
  for (const auto& each : reports) table.take(each);
  return table.summary();
}

TEST(RankTable, names_the_rank_that_the_others_wait_for) {
  const std::vector<double> slow{0.004, 0.009, 0.004};
  EXPECT_EQ(after({report(0, slow), report(100, slow)}).straggler, 1);
  const std::vector<double> alike{0.008, 0.009, 0.008};
  EXPECT_EQ(after({report(0, alike), report(100, alike)}).straggler, std::nullopt);
  const std::vector<double> little{0.0001, 0.0003};  // of steps that are all waiting
  EXPECT_EQ(after({report(0, little), report(100, little)}).straggler, std::nullopt);
  EXPECT_EQ(after({report(0, {0.009}), report(100, {0.009})}).straggler, std::nullopt);
  EXPECT_EQ(after({report(0, slow), report(3, slow)}).straggler, std::nullopt);
}

TEST(RankTable, looks_at_the_last_reports_with_steps_only) {
  std::vector<std::vector<RankFigures>> reports{report(0, {0.004, 0.009})};
  for (uint64_t i = 1; i <= RankTable::kWindow + 5; ++i)
    reports.push_back(report(10 * i, {0.004, 0.009}));
  const uint64_t steps = reports.back()[0].steps;
  reports.push_back(report(steps, {0.004, 0.009}, 3600));  // idle
  const RankSummary summary = after(reports);
  EXPECT_EQ(summary.total[1].steps, steps);
  EXPECT_EQ(summary.total[1].plan_wait_s, 3600);
  EXPECT_EQ(summary.window[1].steps, 10 * RankTable::kWindow);
  EXPECT_EQ(summary.window[1].plan_wait_s, 0);
  EXPECT_NEAR(summary.window[1].compute_s(), 0.09 * RankTable::kWindow, 1e-9);
  EXPECT_EQ(summary.window[1].moved_bytes, 4096 * 10 * RankTable::kWindow);
  EXPECT_EQ(summary.straggler, 1);
}

TEST(RankTable, describes_ranks_before_they_told_anything) {
  const std::vector<RankPlace> places{{.host = "a", .device = "cpu"},
                                      {.host = "b", .device = "cpu"}};
  const OrderedJson before = describe({}, places);
  EXPECT_EQ(before["rows"].size(), 2u);
  EXPECT_EQ(before["rows"][1]["host"], "b");
  EXPECT_FALSE(before["rows"][1].contains("steps"));
  EXPECT_TRUE(before["straggler"].is_null());
  const std::vector<double> slow{0.004, 0.009};
  const OrderedJson table = describe(after({report(0, slow), report(50, slow)}), places);
  EXPECT_EQ(table["straggler"], 1);
  EXPECT_EQ(table["rows"][0]["steps"], 50);
  EXPECT_NEAR(table["rows"][0]["step_ms"].get<double>(), 10, 1e-9);
  EXPECT_NEAR(table["rows"][0]["compute_ms"].get<double>(), 4, 1e-9);
  EXPECT_NEAR(table["rows"][0]["collective_ms"].get<double>(), 6, 1e-9);
}

}  // namespace
}  // namespace dinfer
