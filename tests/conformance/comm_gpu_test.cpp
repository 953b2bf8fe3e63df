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
