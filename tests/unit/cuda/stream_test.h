#pragma once

#include <cuda_runtime.h>
#include <gtest/gtest.h>

#include "kernels/cuda/error.h"
#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// A test with a stream of the first GPU; skipped where there is none.
class StreamTest : public testing::Test {
 protected:
  void SetUp() override {
    int devices = 0;
    if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) GTEST_SKIP() << "no GPU";
    require(cudaStreamCreate(&handle_), "cudaStreamCreate");
    stream_ = Stream::on(handle_);
  }
  void TearDown() override {
    if (handle_) cudaStreamDestroy(handle_);
  }

  cudaStream_t handle_ = nullptr;
  Stream stream_;
};

}  // namespace dinfer::cuda
