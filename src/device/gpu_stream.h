#pragma once

#include <chrono>
#include <functional>
#include <map>

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
  // another rank that is dead. While it lasts, the watches are called again and again with the time
  // waited so far, and once more, with zero, at its end; they report what went wrong by throwing.
  void wait();

  // Who looks after waits: each communicator of this stream, from its beginning to its end.
  using Watch = std::function<void(std::chrono::duration<double> waited)>;
  int add_watch(Watch watch);
  void remove_watch(int id) { watches_.erase(id); }

 private:
  void watch(std::chrono::duration<double> waited);

  int ordinal_;
  cudaStream_t stream_ = nullptr;
  std::map<int, Watch> watches_;
  int next_watch_ = 0;
};

}  // namespace dinfer
