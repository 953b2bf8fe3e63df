// What the ranks that are left do when one dies, stops, fails or disagrees.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <string>

#include "fault_job.h"

namespace dinfer::test {
namespace {

std::vector<std::string> rank_program(const std::string& mode, int rank = 1) {
  return {DINFER_FAULT_RANK, mode, std::to_string(rank)};
}

struct Case {
  std::string mode;
  int victim;

  friend void PrintTo(const Case& self, std::ostream* out) {
    *out << "rank " << self.victim << " at " << self.mode;
  }
};

class KilledRank : public testing::TestWithParam<Case> {};

TEST_P(KilledRank, IsNamedByTheOthersWithinASecond) {
  const auto& [mode, victim] = GetParam();
  MpiJob job(3, rank_program(mode));
  const auto ranks = pids(job, 3);
  ASSERT_EQ(ranks.size(), 3u);
  settle();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(ranks[victim], SIGKILL), 0);
  const std::string line = job.wait_for_line("died during", kPatience);
  EXPECT_LT(told_at(line) - Seconds(start.time_since_epoch()).count(), 1.0) << job.output();
  EXPECT_NE(line.find("rank " + std::to_string(victim) + " (pid " + std::to_string(ranks[victim])),
            std::string::npos)
      << job.output();
  EXPECT_NE(line.find(mode == "idle" ? "during idle" : "during decode step"), std::string::npos)
      << line;
  const int code = job.wait_for_end(kPatience);
  // mpirun reports whichever it saw first: the killed rank, or the job's end by another.
  EXPECT_TRUE(code == 7 || code == 137) << code << "\n" << job.output();
  EXPECT_LT(seconds_since(start), 5.0);
}

INSTANTIATE_TEST_SUITE_P(Faults, KilledRank,
                         testing::Values(Case{"idle", 1}, Case{"idle", 0}, Case{"work", 2},
                                         Case{"work", 0}),
                         [](const auto& info) {
                           return info.param.mode + "_rank" + std::to_string(info.param.victim);
                         });

// A second of step timeout (fault_rank's), and then some for a busy machine.
constexpr double kStepTimeoutSeen = 3.0;

TEST(StoppedRank, IsNamedWhenTheStepTimesOut) {
  MpiJob job(3, rank_program("work"));
  const auto ranks = pids(job, 3);
  ASSERT_EQ(ranks.size(), 3u);
  settle();
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(kill(ranks[1], SIGSTOP), 0);
  const std::string line = job.wait_for_line("no answer from", kPatience);
  EXPECT_LT(seconds_since(start), kStepTimeoutSeen);
  EXPECT_NE(line.find("no answer from rank 1 (pid " + std::to_string(ranks[1])), std::string::npos)
      << job.output();
  EXPECT_EQ(job.wait_for_end(kPatience), 7) << job.output();
  EXPECT_TRUE(is_gone(ranks[1])) << "the stopped rank outlived its job";
}

TEST(StuckRank, IsNamedWhenTheStepTimesOut) {
  MpiJob job(3, rank_program("stuck", 2));
  ASSERT_EQ(pids(job, 3).size(), 3u);
  const std::string line = job.wait_for_line("no answer from", kPatience);
  EXPECT_NE(line.find("no answer from rank 2 (pid "), std::string::npos) << job.output();
  EXPECT_EQ(job.wait_for_end(kPatience), 7) << job.output();
}

TEST(DifferingRank, EndsTheStartWithTheDifference) {
  MpiJob job(4, rank_program("differ", 3));
  ASSERT_EQ(pids(job, 4).size(), 4u);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(job.wait_for_end(kPatience), 3);
  EXPECT_LT(seconds_since(start), 5.0);
  EXPECT_NE(job.output().find("quant: 4 on ranks 0-2; 8 on rank 3 ("), std::string::npos)
      << job.output();
  EXPECT_EQ(job.output().find("version"), std::string::npos) << job.output();
  EXPECT_EQ(job.output().find("quant:"), job.output().rfind("quant:")) << job.output();
}

TEST(FailingRank, GivesTheJobItsExitCode) {
  MpiJob job(3, rank_program("fail", 2));
  ASSERT_EQ(pids(job, 3).size(), 3u);
  EXPECT_EQ(job.wait_for_end(kPatience), 4) << job.output();
  EXPECT_NE(job.output().find("error: model.safetensors: truncated"), std::string::npos);
  EXPECT_EQ(job.output().find("died during"), std::string::npos) << job.output();
}

TEST(FinishedRanks, LeaveWithoutAWord) {
  MpiJob job(3, rank_program("finish"));
  ASSERT_EQ(pids(job, 3).size(), 3u);
  EXPECT_EQ(job.wait_for_end(kPatience), 0) << job.output();
  EXPECT_EQ(job.output().find("error"), std::string::npos) << job.output();
}

}  // namespace
}  // namespace dinfer::test
