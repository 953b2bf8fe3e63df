// What every Communicator must do between two ranks, and in a group that is a part of the job.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "comm/members.h"
#include "comm_groups.h"
#include "comm_parts.h"

namespace dinfer::test {
namespace {

std::vector<int> everyone() { return all_ranks(job_size()); }

// Ranks of one after the other, `size` to a group; the last may have fewer.
std::vector<int> neighbours(int size) {
  std::vector<int> members;
  const int first = job_rank() / size * size;
  for (int r = first; r < std::min(first + size, job_size()); ++r) members.push_back(r);
  return members;
}

class Messages : public testing::TestWithParam<CommImplementation> {
 protected:
  void SetUp() override {
    if (job_size() == 1) GTEST_SKIP() << "one rank has no peer";
    comm_ = GetParam().make(Seconds(30), everyone());
  }

  // NCCL's sends wait for their receivers, and its waits name all ranks.
  static bool is_nccl_alone() { return GetParam().name == "gpu_nccl"; }

  Communicator& comm() { return *comm_; }
  int rank() const { return comm_->rank(); }
  int size() const { return comm_->size(); }

  void send(int to, size_t count, size_t seed) { comm().send(to, bytes(rank(), count, seed)); }
  void expect(int from, size_t count, size_t seed) {
    std::vector<std::byte> received(count);
    comm().receive(from, received);
    EXPECT_EQ(received == bytes(from, count, seed), true)
        << count << " bytes, message " << seed << " of rank " << from;
  }

  std::unique_ptr<Communicator> comm_;
};

TEST_P(Messages, AnyTwoRanksReachEachOther) {
  for (int from = 0; from < size(); ++from) {
    for (int to = 0; to < size(); ++to) {
      if (from == to) continue;
      if (rank() == from) send(to, 1000, static_cast<size_t>(to));
      if (rank() == to) expect(from, 1000, static_cast<size_t>(to));
    }
  }
}

// Communicator::send says so of messages that only NCCL carries.
constexpr auto kNcclWaits = "by NCCL alone a send may wait for its receiver";

TEST_P(Messages, ArriveInOrderHoweverLong) {
  std::mt19937 random(7);  // the same on all ranks
  const int last = size() - 1;
  for (size_t seed = 0; seed < 200; ++seed) {
    const size_t count = seed % 9 == 0 ? 0 : random() % (seed % 40 == 0 ? 3'000'000 : 40'000);
    if (rank() == 0) send(last, count, seed);
    if (rank() == last) expect(0, count, seed);
  }
}

// All send first: none may wait for its receiver to have come.
TEST_P(Messages, RanksThatSendToEachOtherFirstDoNotBlock) {
  if (is_nccl_alone()) GTEST_SKIP() << kNcclWaits;
  for (const size_t count : {0, 1, 16'384, 100'001, 1'000'000, 4'194'304}) {
    for (size_t seed = 0; seed < 5; ++seed) {
      for (int to = 0; to < size(); ++to)
        if (to != rank()) send(to, count, seed);
      for (int from = 0; from < size(); ++from)
        if (from != rank()) expect(from, count, seed);
    }
  }
}

TEST_P(Messages, TwoMayBeOnTheirWayToALateReceiver) {
  if (is_nccl_alone()) GTEST_SKIP() << kNcclWaits;
  constexpr size_t kCount = 16'384;
  const int peer = size() - 1;
  if (rank() == 0) {
    send(peer, kCount, 1);
    send(peer, kCount, 2);
  }
  // The receiver comes to them only after the sender has come here.
  const std::byte here{};
  std::vector<std::byte> all(static_cast<size_t>(size()));
  comm().all_gather_host({&here, 1}, all);
  if (rank() == peer) {
    expect(0, kCount, 1);
    expect(0, kCount, 2);
  }
}

TEST_P(Messages, GoBesideCollectives) {
  if (is_nccl_alone()) GTEST_SKIP() << kNcclWaits;
  const int next = (rank() + 1) % size(), previous = (rank() + size() - 1) % size();
  for (size_t round = 0; round < 50; ++round) {
    std::vector<float> sum(100, 1.0f);
    send(next, 5000, round);
    comm().all_reduce_sum(sum);
    EXPECT_EQ(sum[99], static_cast<float>(size()));
    expect(previous, 5000, round);
  }
}

TEST_P(Messages, BetweenHostMemoryOfAnySize) {
  const int last = size() - 1;
  for (const size_t count : {0, 4, 70'001, 9'000'001}) {
    std::vector<std::byte> received(count);
    if (rank() == last) comm().send_host(0, bytes(last, count, count));
    if (rank() == 0) {
      comm().receive_host(last, received);
      EXPECT_EQ(received == bytes(last, count, count), true) << count;
      comm().send_host(last, received);
    }
    if (rank() == last) {
      comm().receive_host(0, received);
      EXPECT_EQ(received == bytes(last, count, count), true) << count;
    }
  }
}

TEST_P(Messages, ASenderThatNeverComesIsNamed) {
  if (is_nccl_alone()) GTEST_SKIP() << kNcclWaits;
  const auto impatient = GetParam().make(Seconds(0.3), everyone());
  const int absent = size() - 1;
  if (rank() == 0) {
    std::vector<std::byte> data(100);
    try {
      impatient->receive(absent, data);
      FAIL() << "received what nobody sent";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer) << error.what();
      EXPECT_NE(std::string(error.what()).find("no answer from rank " + std::to_string(absent)),
                std::string::npos)
          << error.what();
    }
  }
  std::vector<float> nothing(1);
  GetParam().make(Seconds(30), everyone())->all_reduce_sum(nothing);
}

TEST_P(Messages, OfAnotherLengthThanExpectedAreToldSo) {
  if (is_nccl_alone()) GTEST_SKIP() << "NCCL does not compare lengths";
  const int last = size() - 1;
  if (rank() == last) send(0, 1000, 1);
  if (rank() == 0) {
    std::vector<std::byte> data(1016);
    try {
      comm().receive(last, data);
      FAIL() << "received another length";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::peer) << error.what();
      EXPECT_NE(std::string(error.what()).find("out of step"), std::string::npos) << error.what();
    }
  }
  std::vector<float> nothing(1);
  GetParam().make(Seconds(30), everyone())->all_reduce_sum(nothing);
}

class Subgroups : public testing::TestWithParam<CommImplementation> {
 protected:
  void run(const std::vector<int>& members) {
    const auto group = GetParam().make(Seconds(30), members);
    const auto size = static_cast<size_t>(group->size());
    ASSERT_EQ(size, members.size());
    ASSERT_EQ(members[static_cast<size_t>(group->rank())], job_rank());
    for (const size_t count : {1, 576, 40'000, 300'000}) {
      std::vector<float> sums = values(job_rank(), count);
      group->all_reduce_sum(sums);
      for (size_t i = 0; i < count; ++i) {
        double exact = 0, magnitude = 0;
        for (const int r : members) {
          exact += value(r, i);
          magnitude += std::abs(value(r, i));
        }
        ASSERT_NEAR(sums[i], exact, 1e-6 * magnitude) << i << " of " << count;
      }
      std::vector<std::byte> all(count * size);
      group->all_gather(bytes(job_rank(), count, 3), all);
      for (size_t r = 0; r < size; ++r)
        EXPECT_TRUE(std::ranges::equal(std::span(all).subspan(r * count, count),
                                       bytes(members[r], count, 3)));
    }
    if (size < 2) return;
    const int last = group->size() - 1;
    std::vector<std::byte> data(5000);
    if (group->rank() == 0) group->send(last, bytes(job_rank(), data.size(), 9));
    if (group->rank() == last) {
      group->receive(0, data);
      EXPECT_EQ(data, bytes(members[0], data.size(), 9));
    }
  }
};

TEST_P(Subgroups, OfOneRankEach) { run({job_rank()}); }

TEST_P(Subgroups, OfTwoRanksEach) { run(neighbours(2)); }

TEST_P(Subgroups, OfHalfTheRanksEach) { run(neighbours((job_size() + 1) / 2)); }

TEST_P(Subgroups, OfEveryOtherRank) {
  std::vector<int> members;
  for (int r = job_rank() % 2; r < job_size(); r += 2) members.push_back(r);
  run(members);
}

// As a model cut into stages has them.
TEST_P(Subgroups, WorkBesideAGroupOfAll) {
  if (job_size() < 4 || job_size() % 2) GTEST_SKIP() << "two stages of two ranks or more";
  const int half = job_size() / 2;
  const auto stage = GetParam().make(Seconds(30), neighbours(half));
  const auto all = GetParam().make(Seconds(30), everyone());
  for (size_t step = 0; step < 100; ++step) {
    std::vector<std::byte> hidden(16'384);
    if (job_rank() >= half) {
      all->receive(job_rank() - half, hidden);
      EXPECT_EQ(hidden, bytes(job_rank() - half, hidden.size(), step));
    }
    std::vector<float> sum(1000, static_cast<float>(job_rank()));
    stage->all_reduce_sum(sum);
    EXPECT_EQ(sum[0], sum[999]);
    if (job_rank() < half) all->send(job_rank() + half, bytes(job_rank(), hidden.size(), step));
    std::vector<std::byte> result(8);
    if (job_rank() == job_size() - 1) all->send_host(0, bytes(3, 8, step));
    if (job_rank() == 0) {
      all->receive_host(job_size() - 1, result);
      EXPECT_EQ(result, bytes(3, 8, step));
    }
  }
}

TEST_P(Subgroups, NameRanksAsTheJobDoes) {
  if (job_size() < 4 || job_size() % 2) GTEST_SKIP() << "two groups of two ranks or more";
  const auto impatient = GetParam().make(Seconds(0.3), neighbours(job_size() / 2));
  const int absent = job_rank() < job_size() / 2 ? job_size() / 2 - 1 : job_size() - 1;
  if (job_rank() != absent) {
    std::vector<float> data(100);
    try {
      impatient->all_reduce_sum(data);
      FAIL() << "the sum was made without rank " << absent;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what())
                    .find("no answer from rank " + std::to_string(absent) + " (pid "),
                std::string::npos)
          << error.what();
    }
  }
  std::vector<float> nothing(1);
  GetParam().make(Seconds(30), everyone())->all_reduce_sum(nothing);
}

INSTANTIATE_TEST_SUITE_P(All, Messages, testing::ValuesIn(comm_implementations()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(All, Subgroups, testing::ValuesIn(comm_implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer::test
