#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <stdexcept>

#include "base/error.h"
#include "tests/support/few_threads.h"
#include "tests/support/sanitizers.h"

namespace dinfer::cpu {
namespace {

TEST(ThreadPool, RunsEveryRankOncePerRegion) {
  for (const int threads : {1, 2, 5}) {
    ThreadPool pool(threads, {});
    std::vector<int> runs(threads, 0);
    for (int i = 0; i < 1000; ++i) pool.run([&](int rank) { ++runs[rank]; });
    EXPECT_EQ(runs, std::vector<int>(threads, 1000));
  }
}

TEST(ThreadPool, BarrierSeparatesPhases) {
  ThreadPool pool(4, {});
  for (int round = 0; round < 200; ++round) {
    std::atomic<int> first{0}, second{0};
    std::atomic<bool> wrong{false};
    pool.run([&](int) {
      ++first;
      pool.barrier();
      if (first != 4) wrong = true;
      ++second;
      pool.barrier();
      if (second != 4) wrong = true;
    });
    ASSERT_FALSE(wrong);
  }
}

TEST(ThreadPool, ExceptionOfAnyRankReachesTheCallerAndThePoolLivesOn) {
  ThreadPool pool(3, {});
  for (int thrower = 0; thrower < 3; ++thrower) {
    EXPECT_THROW(pool.run([&](int rank) {
      if (rank == thrower) throw std::runtime_error("lost");
      pool.barrier();
    }),
                 std::runtime_error);
    std::atomic<int> count{0};
    pool.run([&](int) {
      pool.barrier();
      ++count;
    });
    EXPECT_EQ(count, 3);
  }
}

TEST(ThreadPool, WorkersThatSleptWakeAgain) {
  ThreadPool pool(2, {});
  std::atomic<int> count{0};
  for (int i = 0; i < 5; ++i) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(2);
    while (std::chrono::steady_clock::now() < until) {
    }
    pool.run([&](int) { ++count; });
  }
  EXPECT_EQ(count, 10);
}

TEST(ThreadPool, CoreThatDoesNotExistIsAConfigError) {
  const std::vector<int> cores = {100000};
  try {
    ThreadPool pool(1, cores);
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
  }
}

TEST(ThreadPool, ThreadsThatTheSystemDoesNotGiveAreAConfigError) {
  if (test::kSanitized) GTEST_SKIP();
  const test::FewThreads few;
  try {
    ThreadPool pool(1000, {});
    FAIL() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    EXPECT_NE(std::string(error.what()).find("of 1000 threads"), std::string::npos) << error.what();
  }
}

TEST(PartOf, CoversTheRangeOnce) {
  for (const int parts : {1, 3, 7}) {
    int64_t at = 0;
    for (int rank = 0; rank < parts; ++rank) {
      const Range part = part_of(20, rank, parts);
      EXPECT_EQ(part.begin, at);
      at = part.end;
    }
    EXPECT_EQ(at, 20);
  }
}

}  // namespace
}  // namespace dinfer::cpu
