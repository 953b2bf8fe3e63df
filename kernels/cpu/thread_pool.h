#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <span>
#include <thread>
#include <type_traits>
#include <vector>

namespace dinfer::cpu {

// A fixed team of threads for regions of microseconds. The thread that makes the pool is rank 0 and
// the only one that may call run(). Between regions workers spin for a short while, then sleep
// until the next one; how long they spin follows whether spinning has been worth it, so a pool that
// shares its cores with others soon stops burning them.
class ThreadPool {
 public:
  // `cores`: OS indices, one a thread, that threads are bound to (rank 0, the caller, included,
  // until the pool is destroyed); empty: not bound. A core or a thread that cannot be had is an
  // Error(config).
  ThreadPool(int threads, std::span<const int> cores);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Runs body(rank) on every thread, rank 0 on the caller's; returns when all are done. The first
  // exception of any of them is thrown here.
  template <class Body>
  void run(Body&& body) {
    using Plain = std::remove_reference_t<Body>;
    run_job([](void* context, int rank) { (*static_cast<Plain*>(context))(rank); },
            const_cast<void*>(static_cast<const void*>(&body)));
  }

  // Inside run(): waits until every thread of the team is here. All threads must call it equally
  // often.
  void barrier();

 private:
  using Job = void (*)(void* context, int rank);
  struct Broken {};  // thrown out of barrier() when another thread has failed

  void run_job(Job job, void* context);
  void work(int rank, int core);
  void execute(int rank);
  void end();  // of the workers

  const int size_;
  const int max_spin_us_;
  std::vector<int> old_affinity_;  // of the caller, as OS indices; empty: never bound
  Job job_ = nullptr;
  void* context_ = nullptr;
  bool stopping_ = false;
  std::mutex failure_lock_;
  std::exception_ptr failure_;

  alignas(64) std::atomic<uint32_t> job_number_{0};
  alignas(64) std::atomic<uint32_t> unfinished_{0};
  alignas(64) std::atomic<uint32_t> arrived_{0};
  alignas(64) std::atomic<uint32_t> barrier_number_{0};
  std::atomic<bool> failed_{false};
  std::vector<std::jthread> workers_;
};

// Part `rank` of `parts` of the range [0, count): parts are contiguous and differ by at most one.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
};
inline Range part_of(int64_t count, int rank, int parts) {
  return {count * rank / parts, count * (rank + 1) / parts};
}

}  // namespace dinfer::cpu
