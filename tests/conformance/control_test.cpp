// What every ControlPlane must do; run by all ranks of a group.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "bootstrap/agree.h"
#include "comm_groups.h"

namespace dinfer::test {
namespace {

class ControlPlaneConformance : public testing::TestWithParam<ControlImplementation> {
 protected:
  ControlPlane& control() { return *control_; }
  int rank() const { return control_->rank(); }
  int size() const { return control_->size(); }

  // A second group, to come together again after a test that leaves `control` out of step.
  void meet_again() { GetParam().make()->barrier(soon()); }

  std::unique_ptr<ControlPlane> control_ = GetParam().make();
};

Bytes pattern(size_t bytes, int seed) {
  Bytes message(bytes);
  for (size_t i = 0; i < bytes; ++i)
    message[i] =
        static_cast<std::byte>((i * 131 + (i >> 8) + static_cast<size_t>(seed) * 29) & 255);
  return message;
}

TEST_P(ControlPlaneConformance, BroadcastBringsTheHeadsMessageToAll) {
  for (const size_t bytes : {0, 1, 100, 3567, 3568, 3569, 3584, 100'000, 5'000'001}) {
    Bytes message = rank() == 0 ? pattern(bytes, 7) : Bytes{};
    control().broadcast(message, soon());
    EXPECT_EQ(message, pattern(bytes, 7)) << bytes << " bytes";
  }
}

TEST_P(ControlPlaneConformance, AllGatherBringsEveryMessageToAllByRank) {
  const auto bytes_of = [](int rank, size_t scale) { return scale * static_cast<size_t>(rank); };
  for (const size_t scale : {1, 1000, 500'000}) {
    const auto all = control().all_gather(pattern(bytes_of(rank(), scale), rank()), soon());
    ASSERT_EQ(all.size(), static_cast<size_t>(size()));
    for (int r = 0; r < size(); ++r) EXPECT_EQ(all[r], pattern(bytes_of(r, scale), r));
  }
}

TEST_P(ControlPlaneConformance, NobodyLeavesABarrierBeforeAllHaveEntered) {
  using Clock = std::chrono::steady_clock;  // one clock for all processes of a host
  struct Visit {
    Clock::time_point entered, left;
  };
  for (int late = 0; late < size(); ++late) {
    if (rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    Visit visit;
    visit.entered = Clock::now();
    control().barrier(soon());
    visit.left = Clock::now();
    Bytes mine(sizeof visit);
    std::memcpy(mine.data(), &visit, sizeof visit);
    for (const Bytes& message : control().all_gather(mine, soon())) {
      Visit other;
      std::memcpy(&other, message.data(), sizeof other);
      EXPECT_LE(other.entered, visit.left);
    }
  }
}

TEST_P(ControlPlaneConformance, ARankThatNeverComesIsNamedWhenTheDeadlinePasses) {
  if (size() == 1) GTEST_SKIP() << "one rank waits for nobody";
  const int absent = size() - 1;
  // The rank whose deadline passes first tells the others: it began to wait after all had come
  // here.
  const auto start = std::chrono::steady_clock::now();
  control().barrier(soon());
  if (rank() != absent) {
    control().set_phase("the test of deadlines");
    try {
      control().barrier(Deadline::after(Seconds(0.3)));
      FAIL() << "the barrier was left without rank " << absent;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ExitCode::peer) << message;
      EXPECT_NE(message.find("from rank " + std::to_string(absent) + " (pid "), std::string::npos)
          << message;
      EXPECT_NE(message.find("during the test of deadlines"), std::string::npos) << message;
    }
    const Seconds waited = std::chrono::steady_clock::now() - start;
    EXPECT_GE(waited.count(), 0.3);
    EXPECT_LT(waited.count(), 20.0);  // the others' patience is longer
  }
  meet_again();
}

TEST_P(ControlPlaneConformance, RanksOutOfStepAreToldSo) {
  if (size() == 1) GTEST_SKIP() << "one rank is always in step";
  if (rank() == 0) {
    Bytes message(8);
    control().broadcast(message, soon());
  } else {
    try {
      control().barrier(soon());
      FAIL() << "a barrier met a broadcast";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer);
      EXPECT_NE(std::string(error.what()).find("out of step"), std::string::npos) << error.what();
    }
  }
  meet_again();
}

TEST_P(ControlPlaneConformance, RanksThatAgreePassAndRanksThatDoNotEndWithTheDifference) {
  const World world{.rank = rank(), .size = size(), .host = "node" + std::to_string(rank())};
  EXPECT_NO_THROW(agree(control(), world, {{"version", "1"}, {"quant", "4"}}, soon()));
  if (size() == 1) return;
  const bool odd = rank() == size() - 1;
  try {
    agree(control(), world, {{"version", "1"}, {"quant", odd ? "8" : "4"}}, soon());
    FAIL() << "different facts were agreed on";
  } catch (const Error& error) {
    const std::string message = error.what();
    EXPECT_EQ(error.code(), ExitCode::config) << message;
    if (rank() == 0) {
      EXPECT_NE(message.find("8 on rank " + std::to_string(size() - 1) + " (node"),
                std::string::npos)
          << message;
      EXPECT_EQ(message.find("version"), std::string::npos) << message;
    }
  }
  meet_again();
}

// CPU seconds of this process.
double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_P(ControlPlaneConformance, AnIdleRankSleepsAndWakesSoon) {
  using Clock = std::chrono::steady_clock;
  if (size() == 1) GTEST_SKIP() << "one rank waits for nobody";
  control().barrier(soon());
  const double cpu_before = cpu_seconds();
  const Clock::time_point start = Clock::now();
  Seconds soonest{1};  // of five: other programs may hold the cores for a moment
  for (int i = 0; i < 5; ++i) {
    Clock::time_point sent;
    Bytes message(sizeof sent);
    if (rank() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(400));
      sent = Clock::now();
      std::memcpy(message.data(), &sent, sizeof sent);
    }
    control().broadcast(message, soon());
    const Clock::time_point woken = Clock::now();
    std::memcpy(&sent, message.data(), sizeof sent);
    soonest = std::min<Seconds>(soonest, woken - sent);
  }
  // The targets are 2% and 5 ms; the bounds leave room for a busy machine.
  EXPECT_LT((cpu_seconds() - cpu_before) / Seconds(Clock::now() - start).count(), 0.04);
  EXPECT_LT(soonest.count(), 0.020);
}

INSTANTIATE_TEST_SUITE_P(All, ControlPlaneConformance, testing::ValuesIn(control_implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer::test
