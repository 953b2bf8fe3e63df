#include "base/read_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <stdexcept>

#include "tests/support/few_threads.h"
#include "tests/support/sanitizers.h"

namespace dinfer {
namespace {

TEST(ReadAhead, GivesResultsInTheOrderOfTheJobs) {
  std::vector<ReadAhead<int>::Job> jobs;
  for (int i = 0; i < 50; ++i) {
    jobs.push_back([i] {
      std::this_thread::sleep_for(std::chrono::microseconds((50 - i) * 20));
      return i;
    });
  }
  ReadAhead<int> ahead(std::move(jobs), 4, 6);
  for (int i = 0; i < 50; ++i) EXPECT_EQ(ahead.take(), i);
}

TEST(ReadAhead, MakesDoWithTheThreadsThatTheSystemGives) {
  if (test::kSanitized) GTEST_SKIP();
  std::vector<ReadAhead<int>::Job> jobs(1000, [] { return 7; });
  const test::FewThreads few;
  ReadAhead<int> ahead(std::move(jobs), 1000, 6);
  for (int i = 0; i < 1000; ++i) EXPECT_EQ(ahead.take(), 7);
}

TEST(ReadAhead, StaysWithinItsBoundAndEndsWithJobsLeft) {
  std::atomic<int> done{0};
  std::vector<ReadAhead<int>::Job> jobs(100, [&] { return ++done; });
  {
    ReadAhead<int> ahead(std::move(jobs), 3, 5);
    ahead.take();
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT_LE(done, 6);
  }
  EXPECT_LE(done, 6);
}

TEST(ReadAhead, AJobsErrorComesOutInItsTurn) {
  std::vector<ReadAhead<int>::Job> jobs{
      [] { return 1; }, []() -> int { throw std::runtime_error("second"); }, [] { return 3; }};
  ReadAhead<int> ahead(std::move(jobs), 2, 3);
  EXPECT_EQ(ahead.take(), 1);
  EXPECT_THROW(ahead.take(), std::runtime_error);
  EXPECT_EQ(ahead.take(), 3);
}

}  // namespace
}  // namespace dinfer
