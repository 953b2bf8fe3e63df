#pragma once

#include <chrono>
#include <functional>

#include <cuda_runtime.h>

namespace dinfer {

// The one compute stream of a GPU rank: its device queues kernels on it, its communicator
// collectives, and both wait for it here. One thread's, the engine's.
class GpuStream {
 public:
  // Makes GPU `ordinal` current in this thread.
  explicit GpuStream(int ordinal);
  GpuStream(const GpuStream&) = delete;
  GpuStream& operator=(const GpuStream&) = delete;
  ~GpuStream();

  int ordinal() const { return ordinal_; }
  cudaStream_t get() const { return stream_; }

  // Waits until all that is queued is done: by polling, since what is queued may itself wait for
  // another rank that is dead. While it lasts, the watch is called again and again with the time
  // waited so far, and once more, with zero, at its end; it reports what went wrong by throwing.
  void wait();

  // Who looks after waits: the communicator of this stream, until it is gone ({}).
  using Watch = std::function<void(std::chrono::duration<double> waited)>;
  void set_watch(Watch watch) { watch_ = std::move(watch); }

 private:
  int ordinal_;
  cudaStream_t stream_ = nullptr;
  Watch watch_;
};

}  // namespace dinfer
