#include "device/gpu_stream.h"

#include "device/gpu_check.h"

namespace dinfer {
namespace {

// A step is shorter than this, and nobody needs to look after it.
constexpr std::chrono::milliseconds kUnwatched{1};

}  // namespace

GpuStream::GpuStream(int ordinal) : ordinal_(ordinal) {
  check_cuda(cudaSetDevice(ordinal), "cudaSetDevice");
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}

GpuStream::~GpuStream() { cudaStreamDestroy(stream_); }

void GpuStream::wait() {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state != cudaErrorNotReady) {
      check_cuda(state, "waiting for the compute stream");
      if (watch_) watch_({});  // a collective that gave up has ended, too
      return;
    }
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (watch_ && waited > kUnwatched) watch_(waited);
  }
}

}  // namespace dinfer
