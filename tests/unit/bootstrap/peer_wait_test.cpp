#include "bootstrap/peer_wait.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>

namespace dinfer {
namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

double seconds_since(Clock::time_point begin) { return Seconds(Clock::now() - begin).count(); }

class PeerWaitTest : public testing::Test {
 protected:
  PeerWaitTest() : wait_(0, {{.host = "a", .pid = 1}, {.host = "b", .pid = 2}}, true) {}

  // Waits in vain for rank 1, for 0.2 s if it does nothing; how long that took.
  double waits_for() {
    const Clock::time_point begin = Clock::now();
    try {
      wait_.until([] { return false; }, [] { return std::vector<int>{1}; },
                  Deadline::after(Seconds(0.2)), "receive");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer);
      EXPECT_NE(std::string(error.what()).find("rank 1 (pid 2 on host b)"), std::string::npos);
      return seconds_since(begin);
    }
    return 0;
  }

  PeerWait wait_;
  std::atomic<uint64_t> own_{0};
};

TEST_F(PeerWaitTest, AWaitEndsAtItsDeadlineWhereNobodyMakesProgress) {
  EXPECT_GE(waits_for(), 0.19);
  wait_.set_progress(&own_, [this] { return own_.load(); });
  wait_.note_progress();
  EXPECT_EQ(own_.load(), 1u);
  const double waited = waits_for();
  EXPECT_GE(waited, 0.19);
  EXPECT_LT(waited, 5);
}

TEST_F(PeerWaitTest, AWaitGoesOnWhileSomeRankMakesProgress) {
  const Clock::time_point begin = Clock::now();
  wait_.set_progress(
      &own_, [begin] { return static_cast<uint64_t>(std::min(seconds_since(begin), 0.7) / 0.05); });
  EXPECT_GE(waits_for(), 0.7 + 0.1);
}

TEST_F(PeerWaitTest, WhatComesAfterTheDeadlineIsTaken) {
  const Clock::time_point begin = Clock::now();
  wait_.set_progress(&own_, [begin] { return static_cast<uint64_t>(seconds_since(begin) / 0.05); });
  wait_.until([&] { return seconds_since(begin) > 0.5; }, [] { return std::vector<int>{1}; },
              Deadline::after(Seconds(0.1)), "receive");
  EXPECT_GT(seconds_since(begin), 0.5);
}

// A suspended job: no rank could do anything, and the first to go on must not blame the others.
TEST_F(PeerWaitTest, TimeInWhichThisProcessDidNotRunDoesNotCount) {
  const Clock::time_point begin = Clock::now();
  bool stopped = false;
  const auto arrives_soon_after = [&] {
    if (seconds_since(begin) > 0.1 && !std::exchange(stopped, true))
      std::this_thread::sleep_for(Seconds(1.2));
    return seconds_since(begin) > 1.4;
  };
  wait_.until(
      arrives_soon_after, [] { return std::vector<int>{1}; }, Deadline::after(Seconds(0.5)),
      "receive");
  EXPECT_TRUE(stopped);
}

// What is told over the network need not be true.
TEST_F(PeerWaitTest, TheLossOfARankThatIsNoneEndsTheWait) {
  for (const int rank : {-1, 2, 1 << 30}) {
    PeerWait wait(0, {{.host = "a", .pid = 1}, {.host = "b", .pid = 2}}, true);
    wait.set_report(-1, [rank] { return Loss{.rank = rank}; });
    EXPECT_THROW(wait.check_peers(), Error) << rank;
    EXPECT_THROW(wait.check_report(), Error) << rank;
  }
}

TEST_F(PeerWaitTest, TheMessageTellsWhatThisRankWasInWhereItWasInAnything) {
  const auto message = [&](std::string_view what) -> std::string {
    try {
      wait_.fail_late({1}, Seconds(3), what);
    } catch (const Error& error) {
      return error.what();
    }
  };
  EXPECT_NE(message("receive").find("start (rank 0 waited in receive): "), std::string::npos);
  EXPECT_NE(message("").find("during start: "), std::string::npos) << message("");
}

}  // namespace
}  // namespace dinfer
