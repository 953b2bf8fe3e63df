// What GPU ranks do when another dies or stops, and that their GPUs are free soon after.
#include <cuda_runtime.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "bootstrap/gpu_probe.h"
#include "fault_job.h"

namespace dinfer::test {
namespace {

constexpr int kRanks = 2;
constexpr Seconds kFreeAgain{15};

// Nothing is left of a job on the first GPUs: their memory is free but for this process's part.
bool gpus_are_free() {
  for (int gpu = 0; gpu < kRanks; ++gpu) {
    size_t free = 0, total = 0;
    if (cudaSetDevice(gpu) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess)
      return false;
    if (free < total - total / 50) return false;
  }
  return true;
}

class GpuFault : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (probe_gpus().gpus.size() < kRanks) GTEST_SKIP() << "needs " << kRanks << " GPUs";
    job_.emplace(kRanks, std::vector<std::string>{DINFER_GPU_FAULT_RANK, GetParam()});
    ranks_ = pids(*job_, kRanks);
    ASSERT_EQ(ranks_.size(), static_cast<size_t>(kRanks));
    settle();
    start_ = std::chrono::steady_clock::now();
  }

  void expect_free_gpus() {
    while (!gpus_are_free() && Seconds(seconds_since(start_)) < kFreeAgain) usleep(100'000);
    EXPECT_TRUE(gpus_are_free()) << "a GPU is still in use";
    for (const pid_t rank : ranks_) EXPECT_TRUE(is_gone(rank));
  }

  std::optional<MpiJob> job_;
  std::vector<pid_t> ranks_;
  std::chrono::steady_clock::time_point start_;
};

TEST_P(GpuFault, AKilledRankIsNamedWithinASecond) {
  ASSERT_EQ(kill(ranks_[1], SIGKILL), 0);
  const std::string line = job_->wait_for_line("died during", kPatience);
  EXPECT_LT(told_at(line) - Seconds(start_.time_since_epoch()).count(), 1.0) << job_->output();
  EXPECT_NE(line.find("rank 1 (pid " + std::to_string(ranks_[1])), std::string::npos) << line;
  EXPECT_NE(line.find("during decode step"), std::string::npos) << line;
  const int code = job_->wait_for_end(kPatience);
  EXPECT_TRUE(code == 7 || code == 137) << code << "\n" << job_->output();
  expect_free_gpus();
}

TEST_P(GpuFault, AStoppedRankIsNamedWhenTheStepTimesOut) {
  ASSERT_EQ(kill(ranks_[1], SIGSTOP), 0);
  const std::string line = job_->wait_for_line("no answer from", kPatience);
  EXPECT_LT(seconds_since(start_), 4.0);  // a second of step timeout, and mpirun's delays
  EXPECT_NE(line.find("rank 1 (pid " + std::to_string(ranks_[1])), std::string::npos)
      << job_->output();
  EXPECT_EQ(job_->wait_for_end(kPatience), 7) << job_->output();
  expect_free_gpus();
}

INSTANTIATE_TEST_SUITE_P(All, GpuFault, testing::Values("peers", "nccl"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace dinfer::test
