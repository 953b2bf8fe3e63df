#include "bootstrap/star.h"

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>

#include "bootstrap/tcp_session.h"

namespace dinfer {
namespace {

Deadline soon() { return Deadline::after(std::chrono::seconds(10)); }

// Ranks of one job as threads, all on this machine.
class Meeting : public testing::Test {
 protected:
  StarPlan plan(int rank, int size, int local_size) const {
    return {.rank = rank,
            .size = size,
            .local_size = local_size,
            .head = {"127.0.0.1", port_of(listener_)},
            .secret = "a secret of this test",
            .describe = [](int each) { return "rank " + std::to_string(each); }};
  }

  std::vector<std::unique_ptr<TcpSession>> meet(int size, int local_size) const {
    std::vector<std::future<std::unique_ptr<TcpSession>>> ranks;
    for (int rank = 0; rank < size; ++rank)
      ranks.push_back(std::async(std::launch::async, [=, this] {
        const StarPlan own = plan(rank, size, local_size);
        Star star = rank == 0 ? gather_ranks(listener_, own, soon()) : join_head(own, soon());
        return std::make_unique<TcpSession>(own, std::move(star), 0, std::chrono::seconds(5));
      }));
    std::vector<std::unique_ptr<TcpSession>> sessions;
    for (auto& rank : ranks) sessions.push_back(rank.get());
    return sessions;
  }

  Socket listener_ = listen_at({"127.0.0.1", 0});
};

// A worker's first rank takes its node's first GPU, whatever its rank in the world.
TEST_F(Meeting, GpusAreCountedByNodeAndRanksByWorld) {
  const auto sessions = meet(4, 2);
  for (int rank = 0; rank < 4; ++rank) {
    const World& world = sessions[static_cast<size_t>(rank)]->world();
    EXPECT_EQ(world.rank, rank);
    EXPECT_EQ(world.size, 4);
    EXPECT_EQ(world.ordinal, rank % 2);
  }
}

TEST_F(Meeting, OneRankANodeTakesItsFirstGpu) {
  for (const auto& session : meet(3, 1)) EXPECT_EQ(session->world().ordinal, 0);
}

TEST_F(Meeting, RanksOfOneMachineThatNodesDoNotDescribeTakeAGpuEach) {
  const auto sessions = meet(3, 0);
  for (int rank = 0; rank < 3; ++rank) {
    const World& world = sessions[static_cast<size_t>(rank)]->world();
    EXPECT_EQ(world.ordinal, rank);
    EXPECT_EQ(world.local_size, 3);
    EXPECT_EQ(world.nodes, 1);
  }
}

TEST_F(Meeting, TheDeadlineHoldsWhereNobodyComes) {
  const auto began = std::chrono::steady_clock::now();
  try {
    gather_ranks(listener_, plan(0, 3, 1), Deadline::after(std::chrono::milliseconds(300)));
    FAIL() << "a job of one rank of three formed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::peer);
    EXPECT_NE(std::string(error.what()).find("no connection from rank 1, rank 2"),
              std::string::npos)
        << error.what();
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
}

TEST_F(Meeting, WhoHasComeAndWhoIsMissingIsTold) {
  std::string to_head, to_rank;
  std::thread rank([&] {
    try {
      join_head(plan(2, 3, 1), Deadline::after(std::chrono::seconds(2)));
    } catch (const Error& error) {
      to_rank = error.what();
    }
  });
  try {
    gather_ranks(listener_, plan(0, 3, 1), Deadline::after(std::chrono::seconds(1)));
  } catch (const Error& error) {
    to_head = error.what();
  }
  rank.join();
  for (const std::string& text : {to_head, to_rank})
    EXPECT_NE(text.find("connected: rank 2; no connection from rank 1"), std::string::npos) << text;
}

}  // namespace
}  // namespace dinfer
