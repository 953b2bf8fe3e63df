// What every Communicator must do; run by all ranks of a group.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <thread>

#include "base/error.h"
#include "comm/members.h"
#include "comm_groups.h"
#include "comm_parts.h"

namespace dinfer::test {
namespace {

// Around vector widths, cache lines, and the sizes at which implementations change their way.
const std::vector<size_t> kLengths = {0,     1,       3,       16,        17,       576,
                                      2047,  4096,    4097,    8191,      8192,     65536,
                                      65537, 131'101, 200'003, 1'048'583, 4'194'311};

class CommunicatorConformance : public testing::TestWithParam<CommImplementation> {
 protected:
  Communicator& comm() { return *comm_; }
  int rank() const { return comm_->rank(); }
  int size() const { return comm_->size(); }
  bool alone() const { return size() == 1; }

  static std::unique_ptr<Communicator> make_all(Seconds timeout) {
    return GetParam().make(timeout, all_ranks(job_size()));
  }

  void meet_again() {
    std::vector<float> nothing(1);
    make_all(Seconds(30))->all_reduce_sum(nothing);
  }

  // Sums `count` values; each is near the sum in double, and all ranks have the same bits.
  std::vector<float> reduce_checked(size_t count) {
    std::vector<float> sums = values(rank(), count);
    comm().all_reduce_sum(sums);
    for (size_t i = 0; i < count; ++i) {
      double exact = 0, magnitude = 0;
      for (int r = 0; r < size(); ++r) {
        exact += value(r, i);
        magnitude += std::abs(value(r, i));
      }
      if (std::abs(sums[i] - exact) > 1e-6 * magnitude) {
        ADD_FAILURE() << "sum " << i << " of " << count << " is " << sums[i] << ", not " << exact;
        break;
      }
    }
    const std::span<const std::byte> mine = std::as_bytes(std::span(sums));
    std::vector<std::byte> all(mine.size() * static_cast<size_t>(size()));
    comm().all_gather(mine, all);
    for (int r = 0; r < size(); ++r) {
      const bool same =
          mine.empty() || std::memcmp(all.data() + r * mine.size(), mine.data(), mine.size()) == 0;
      EXPECT_TRUE(same) << "ranks " << r << " and " << rank() << " differ at length " << count;
    }
    return sums;
  }

  void gather_checked(size_t count, size_t seed) {
    std::vector<std::byte> all(count * static_cast<size_t>(size()));
    comm().all_gather(bytes(rank(), count, seed), all);
    for (int r = 0; r < size(); ++r) {
      const std::span<const std::byte> part = std::span(all).subspan(r * count, count);
      EXPECT_TRUE(std::ranges::equal(part, bytes(r, count, seed)))
          << count << " bytes of rank " << r;
    }
  }

  void pass_on_checked(size_t count, size_t seed) {
    const int right = (rank() + 1) % size();
    const int left = (rank() + size() - 1) % size();
    std::vector<std::byte> received(count);
    const auto send = [&] { comm().send(right, bytes(rank(), count, seed)); };
    if (rank() % 2 == 0) send();
    comm().receive(left, received);
    if (rank() % 2 == 1) send();
    EXPECT_EQ(received, bytes(left, count, seed)) << count << " bytes from rank " << left;
  }

  std::unique_ptr<Communicator> comm_ = make_all(Seconds(30));
};

TEST_P(CommunicatorConformance, AllReduceSumsAndAllRanksHaveTheSameBits) {
  for (const size_t count : kLengths) reduce_checked(count);
}

TEST_P(CommunicatorConformance, SumsDoNotDependOnWhoComesFirst) {
  for (const size_t count : {5, 3000, 70'001}) {
    const std::vector<float> first = reduce_checked(count);
    for (int late = 0; late < size(); ++late) {
      if (rank() == late) std::this_thread::sleep_for(std::chrono::milliseconds(2));
      const std::vector<float> again = reduce_checked(count);
      EXPECT_EQ(std::memcmp(first.data(), again.data(), count * sizeof(float)), 0);
    }
  }
}

TEST_P(CommunicatorConformance, AllGatherBringsEveryPartToAllByRank) {
  for (const size_t count : {0, 1, 5, 4095, 4096, 4097, 262'144, 262'145, 3'000'001})
    gather_checked(count, count);
}

TEST_P(CommunicatorConformance, SendAndReceiveMatchInOrder) {
  if (alone()) GTEST_SKIP() << "one rank has no peer";
  const int last = size() - 1;
  for (const size_t count : {0, 1, 4097, 2'000'003}) {
    for (size_t seed = 0; seed < 4; ++seed) {
      std::vector<std::byte> received(count + seed);
      if (rank() == 0) comm().send(last, bytes(0, count + seed, seed));
      if (rank() != last) continue;
      comm().receive(0, received);
      EXPECT_EQ(received, bytes(0, count + seed, seed));
    }
  }
}

TEST_P(CommunicatorConformance, AnyMixOfCallsKeepsItsOrder) {
  std::mt19937 random(20);  // the same on all ranks
  for (size_t call = 0; call < 300; ++call) {
    const size_t count = random() % (call % 10 == 0 ? 100'000 : 3000);
    switch (random() % 3) {
      case 0:
        reduce_checked(count);
        break;
      case 1:
        gather_checked(count, call);
        break;
      default:
        if (!alone() && size() % 2 == 0) pass_on_checked(count, call);
    }
  }
}

TEST_P(CommunicatorConformance, MessagesBeyondTwoGigabytesArriveWhole) {
  if (alone()) GTEST_SKIP() << "one rank has no peer";
  constexpr size_t kBytes = (size_t{1} << 31) + 9;
  const auto free_bytes =
      static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
  if (size() != 2 || free_bytes < 3 * kBytes) GTEST_SKIP() << "2 ranks and 6 GiB of free memory";
  // The sender's untouched pages take no memory.
  void* pages = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(pages, MAP_FAILED);
  const std::span data(static_cast<std::byte*>(pages), kBytes);
  const std::vector<size_t> marks = {0, (size_t{1} << 30) - 1, size_t{1} << 30, size_t{1} << 31,
                                     kBytes - 1};
  if (rank() == 0) {
    for (const size_t mark : marks) data[mark] = std::byte{77};
    comm().send(1, data);
  } else {
    comm().receive(0, data);
    for (const size_t mark : marks) EXPECT_EQ(data[mark], std::byte{77}) << mark;
    EXPECT_EQ(data[kBytes - 2], std::byte{0});
  }
  munmap(pages, kBytes);
}

TEST_P(CommunicatorConformance, ARankThatNeverComesIsNamedWhenTheStepTimesOut) {
  if (alone()) GTEST_SKIP() << "one rank waits for nobody";
  const auto impatient = make_all(Seconds(0.3));
  const int absent = size() - 1;
  if (rank() != absent) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<float> data(100);
    try {
      impatient->all_reduce_sum(data);
      FAIL() << "the sum was made without rank " << absent;
    } catch (const Error& error) {
      const std::string message = error.what();
      EXPECT_EQ(error.code(), ExitCode::peer) << message;
      EXPECT_NE(message.find("no answer from rank " + std::to_string(absent) + " (pid "),
                std::string::npos)
          << message;
      EXPECT_NE(message.find("all_reduce_sum"), std::string::npos) << message;
    }
    const Seconds waited = std::chrono::steady_clock::now() - start;
    EXPECT_GE(waited.count(), 0.3);
    EXPECT_LT(waited.count(), 2.0);
  }
  meet_again();
}

TEST_P(CommunicatorConformance, RanksThatSumDifferentLengthsAreToldSo) {
  if (alone()) GTEST_SKIP() << "one rank is always in step";
  if (GetParam().name == "gpu_nccl") GTEST_SKIP() << "NCCL does not compare lengths";
  std::vector<float> data(rank() == 0 ? 100 : 101);
  try {
    comm().all_reduce_sum(data);
    FAIL() << "different lengths were summed";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::peer);
    EXPECT_NE(std::string(error.what()).find("out of step"), std::string::npos) << error.what();
  }
  meet_again();
}

INSTANTIATE_TEST_SUITE_P(All, CommunicatorConformance, testing::ValuesIn(comm_implementations()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace dinfer::test
