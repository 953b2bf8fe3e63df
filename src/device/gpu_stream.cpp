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

int GpuStream::add_watch(Watch watch) {
  watches_.emplace(next_watch_, std::move(watch));
  return next_watch_++;
}

void GpuStream::watch(std::chrono::duration<double> waited) {
  for (const auto& [id, watch] : watches_) watch(waited);
}

void GpuStream::wait() {
  const auto begin = std::chrono::steady_clock::now();
  for (;;) {
    const cudaError_t state = cudaStreamQuery(stream_);
    if (state != cudaErrorNotReady) {
      check_cuda(state, "waiting for the compute stream");
      watch({});  // a collective that gave up has ended, too
      return;
    }
    const auto waited = std::chrono::steady_clock::now() - begin;
    if (waited > kUnwatched) watch(waited);
  }
}

}  // namespace dinfer
