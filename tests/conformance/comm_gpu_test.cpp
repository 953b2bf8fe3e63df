// What communicators do on GPUs alone: recorded calls, and ranks that cannot work together.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "base/error.h"
#include "comm_gpus.h"
#include "kernels/cuda/error.h"

namespace dinfer::test {
namespace {

using Seconds = std::chrono::duration<double>;

class GpuCommunicator : public testing::TestWithParam<GpuPaths> {
 protected:
  GpuCommunicator() {
    const int size = process().session->world().size;
    if (size > 1) group_ = make_group(stream_, Seconds(30), GetParam(), all_ranks(size));
    for (float** buffer : {&values_, &fresh_})
      cuda::require(cudaMalloc(buffer, kMost * sizeof(float)), "cudaMalloc");
  }
  ~GpuCommunicator() override {
    group_.reset();
    cudaFree(values_);
    cudaFree(fresh_);
  }

  static constexpr size_t kMost = 3'000'000;

  void copy(void* to, const void* from, size_t count) {
    cuda::require(
        cudaMemcpyAsync(to, from, count * sizeof(float), cudaMemcpyDefault, stream_.get()),
        "cudaMemcpyAsync");
  }

  std::vector<float> result(size_t count) {
    stream_.wait();
    std::vector<float> host(count);
    copy(host.data(), values_, count);
    stream_.wait();
    return host;
  }

  void expect_same_on_all_ranks(const std::vector<float>& values) {
    const auto mine = std::as_bytes(std::span(values));
    std::vector<std::byte> all(mine.size() * static_cast<size_t>(group_->size()));
    group_->all_gather_host(mine, all);
    for (int r = 0; r < group_->size(); ++r)
      EXPECT_EQ(std::memcmp(all.data() + r * mine.size(), mine.data(), mine.size()), 0)
          << "ranks " << r << " and " << group_->rank();
  }

  GpuStream& stream_ = *process().stream;
  std::unique_ptr<Communicator> group_;
  float *values_ = nullptr, *fresh_ = nullptr;
};

TEST_P(GpuCommunicator, ReplaysARecordedGraphAThousandTimes) {
  if (!group_) GTEST_SKIP() << "one rank sums nothing";
  std::mt19937 random(static_cast<unsigned>(group_->rank()));
  std::vector<float> host(kMost);
  for (float& value : host) value = static_cast<float>(random()) * 1e-6f;
  copy(fresh_, host.data(), kMost);
  const std::vector<size_t> lengths = {4096, 5, 8192, 100'001, 4096};
  const auto sums = [&] {
    for (const size_t count : lengths) {
      copy(values_, fresh_, count);
      group_->all_reduce_sum({values_, count});
    }
  };
  sums();
  const std::vector<float> expected = result(4096);
  expect_same_on_all_ranks(expected);

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t recorded = nullptr;
  cuda::require(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal), "capture");
  sums();
  cuda::require(cudaStreamEndCapture(stream_.get(), &graph), "cudaStreamEndCapture");
  cuda::require(cudaGraphInstantiate(&recorded, graph, 0), "cudaGraphInstantiate");
  for (int replay = 0; replay < 1000; ++replay) {
    cuda::require(cudaGraphLaunch(recorded, stream_.get()), "cudaGraphLaunch");
    if (replay % 50 == 0) group_->all_reduce_sum({values_, 17});  // calls between replays
    if (replay % 250 != 249) continue;
    EXPECT_EQ(result(4096), expected) << "replay " << replay;
  }
  stream_.wait();
  cudaGraphExecDestroy(recorded);
  cudaGraphDestroy(graph);
}

TEST_P(GpuCommunicator, SumsOfRandomLengthsHaveTheSameBitsOnAllRanks) {
  if (!group_) GTEST_SKIP() << "one rank sums nothing";
  std::mt19937 lengths(9), random(static_cast<unsigned>(group_->rank()));
  std::vector<float> host(kMost);
  for (float& value : host) value = static_cast<float>(random()) * 1e-6f;
  copy(fresh_, host.data(), kMost);
  for (int call = 0; call < 400; ++call) {
    const size_t count = 1 + lengths() % (call % 20 == 0 ? kMost : 20'000);
    copy(values_, fresh_, count);
    group_->all_reduce_sum({values_, count});
    if (call % 20 == 0) expect_same_on_all_ranks(result(count));
  }
}

// Rank 0 and the last send each other what they got, in a recorded graph: after each replay both
// have what the other had.
TEST_P(GpuCommunicator, ReplaysRecordedMessages) {
  if (!group_) GTEST_SKIP() << "one rank has no peer";
  const int last = group_->size() - 1;
  if (group_->rank() != 0 && group_->rank() != last) return;
  const int peer = last - group_->rank();
  std::vector<float> host(kMost);
  for (const size_t count : {1, 5, 4096, 32'768, 32'769, 250'001, 1'000'000}) {
    for (size_t i = 0; i < count; ++i)
      host[i] = static_cast<float>(i) + static_cast<float>(group_->rank()) * 0.5f;
    copy(fresh_, host.data(), count);
    const auto swap = [&] {
      const auto bytes = [&](float* data) {
        return std::as_writable_bytes(std::span(data, count));
      };
      if (group_->rank() == 0) group_->send(peer, bytes(fresh_));
      group_->receive(peer, bytes(values_));
      if (group_->rank() != 0) group_->send(peer, bytes(fresh_));
      copy(fresh_, values_, count);
    };
    swap();
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t recorded = nullptr;
    cuda::require(cudaStreamBeginCapture(stream_.get(), cudaStreamCaptureModeThreadLocal),
                  "capture");
    swap();
    cuda::require(cudaStreamEndCapture(stream_.get(), &graph), "cudaStreamEndCapture");
    cuda::require(cudaGraphInstantiate(&recorded, graph, 0), "cudaGraphInstantiate");
    constexpr int kReplays = 300;
    for (int replay = 0; replay < kReplays; ++replay)
      cuda::require(cudaGraphLaunch(recorded, stream_.get()), "cudaGraphLaunch");
    const int owner = (kReplays + 1) % 2 == 0 ? group_->rank() : peer;
    const std::vector<float> got = result(count);
    for (size_t i = 0; i < count; ++i) {
      if (got[i] == static_cast<float>(i) + static_cast<float>(owner) * 0.5f) continue;
      ADD_FAILURE() << "value " << i << " of " << count << " is " << got[i];
      break;
    }
    cudaGraphExecDestroy(recorded);
    cudaGraphDestroy(graph);
  }
}

// Of any length, from and to any address.
TEST_P(GpuCommunicator, PassesOnRandomMessages) {
  if (!group_) GTEST_SKIP() << "one rank has no peer";
  std::mt19937 random(3);  // the same on all ranks
  const int size = group_->size();
  std::vector<float> host(kMost);
  for (size_t i = 0; i < kMost; ++i) host[i] = static_cast<float>(i % 65'521);
  auto* in = reinterpret_cast<std::byte*>(values_);
  for (int call = 0; call < 200; ++call) {
    const int from = static_cast<int>(random() % static_cast<unsigned>(size));
    const int to = (from + 1 + static_cast<int>(random() % static_cast<unsigned>(size - 1))) % size;
    const size_t most = call % 10 == 0 ? 11'000'000 : call % 3 == 0 ? 400'000 : 20'000;
    const size_t bytes = 1 + random() % most, out_at = random() % 40, in_at = random() % 40;
    if (group_->rank() == from) {
      copy(fresh_, host.data(), bytes / sizeof(float) + 12);
      group_->send(to, {reinterpret_cast<std::byte*>(fresh_) + out_at, bytes});
      stream_.wait();
    }
    if (group_->rank() != to) continue;
    cuda::require(cudaMemsetAsync(in, 0x55, in_at + bytes + 8, stream_.get()), "cudaMemsetAsync");
    group_->receive(from, {in + in_at, bytes});
    const std::vector<float> got = result((in_at + bytes + 8) / sizeof(float) + 1);
    const auto* received = reinterpret_cast<const std::byte*>(got.data()) + in_at;
    const auto* sent = reinterpret_cast<const std::byte*>(host.data()) + out_at;
    EXPECT_EQ(std::memcmp(received, sent, bytes), 0) << "call " << call << ", " << bytes;
    EXPECT_EQ(received[bytes], std::byte{0x55}) << "past the end of " << bytes;
  }
}

INSTANTIATE_TEST_SUITE_P(All, GpuCommunicator,
                         testing::Values(GpuPaths::peers_only, GpuPaths::nccl_only),
                         [](const auto& info) {
                           return info.param == GpuPaths::peers_only ? "peers" : "nccl";
                         });

TEST(GpuRanks, AreToldThatTheyShareAGpu) {
  if (process().session->world().size == 1) GTEST_SKIP() << "one rank has a GPU to itself";
  GpuStream first(0);
  try {
    make_group(first, Seconds(30), GpuPaths::all, all_ranks(process().session->world().size));
    FAIL() << "all ranks work on GPU 0";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::device);
    EXPECT_NE(std::string(error.what()).find("ranks 0 and 1 are on the same GPU"),
              std::string::npos)
        << error.what();
  }
  cudaSetDevice(process().stream->ordinal());
}

}  // namespace
}  // namespace dinfer::test
