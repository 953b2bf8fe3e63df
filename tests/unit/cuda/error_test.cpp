// Needs no GPU.
#include "kernels/cuda/error.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace dinfer::cuda {
namespace {

ExitCode code_of(cudaError_t status) {
  try {
    require(status, "cudaLaunchKernelEx");
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(cudaGetErrorName(status)), std::string::npos);
    return error.code();
  }
  return ExitCode::ok;
}

TEST(CudaError, TellsShortMemoryFromFaults) {
  EXPECT_EQ(code_of(cudaSuccess), ExitCode::ok);
  EXPECT_EQ(code_of(cudaErrorMemoryAllocation), ExitCode::does_not_fit);
  EXPECT_EQ(code_of(cudaErrorIllegalAddress), ExitCode::device);
}

}  // namespace
}  // namespace dinfer::cuda
