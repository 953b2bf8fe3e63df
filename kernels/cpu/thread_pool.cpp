#include "kernels/cpu/thread_pool.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include <hwy/cache_control.h>

#include "base/error.h"

namespace dinfer::cpu {
namespace {

constexpr int kMaxSpinUs = 50;
constexpr int kMinSpinUs = 2;
constexpr int kPausesBeforeYield = 400;  // some 5 us

std::vector<int> affinity() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cores;
  if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

bool bind(std::span<const int> cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int core : cores) {
    if (core < 0 || core >= CPU_SETSIZE) return false;
    CPU_SET(core, &set);
  }
  return pthread_setaffinity_np(pthread_self(), sizeof set, &set) == 0;
}

void bind_to(int core) {
  if (!bind({&core, 1})) {
    fail(ExitCode::config,
         "cannot bind a thread to core {}: it is not among the cores of this "
         "process; name others or leave the binding out",
         core);
  }
}

// Waits until `value` is no longer `old`, spinning first for at most `spin_us`, which is then
// adapted to whether that was enough.
void wait_while(std::atomic<uint32_t>& value, uint32_t old, int& spin_us, int max_spin_us) {
  for (int i = 0; i < kPausesBeforeYield && max_spin_us > 0; ++i) {
    if (value.load(std::memory_order_acquire) != old) return;
    hwy::Pause();
  }
  const auto start = std::chrono::steady_clock::now();
  while (std::chrono::steady_clock::now() - start < std::chrono::microseconds(spin_us)) {
    for (int i = 0; i < 32; ++i) {
      if (value.load(std::memory_order_acquire) != old) {
        spin_us = std::min(2 * spin_us, max_spin_us);
        return;
      }
      hwy::Pause();
    }
    sched_yield();
  }
  spin_us = std::max(spin_us / 2, std::min(kMinSpinUs, max_spin_us));
  while (value.load(std::memory_order_acquire) == old) value.wait(old, std::memory_order_acquire);
}

thread_local int spin_us = kMaxSpinUs;  // what this thread has learnt in wait_while

}  // namespace

ThreadPool::ThreadPool(int threads, std::span<const int> cores)
    : size_(threads), max_spin_us_(std::ssize(affinity()) < threads ? 0 : kMaxSpinUs) {
  check(threads >= 1, "a thread pool has at least one thread");
  check(cores.empty() || std::ssize(cores) == threads, "one core a thread");
  if (!cores.empty()) {
    old_affinity_ = affinity();
    if (!bind(cores)) {
      fail(ExitCode::config,
           "cannot bind threads to cores {}: not all of them are among the cores of "
           "this process; name others or leave the binding out",
           fmt::join(cores, ","));
    }
    bind_to(cores[0]);
  }
  try {
    for (int rank = 1; rank < threads; ++rank) {
      workers_.emplace_back(
          [this, rank, core = cores.empty() ? -1 : cores[rank]] { work(rank, core); });
    }
  } catch (const std::system_error& error) {
    const size_t started = workers_.size() + 1;
    end();
    fail(ExitCode::config,
         "only {} of {} threads can be started ({}): give fewer --threads, or let this process "
         "have more (ulimit -u and -v, pids.max of its control group)",
         started, threads, error.what());
  }
}

ThreadPool::~ThreadPool() { end(); }

void ThreadPool::end() {
  stopping_ = true;
  job_number_.fetch_add(1);
  job_number_.notify_all();
  workers_.clear();
  if (!old_affinity_.empty()) bind(old_affinity_);
}

void ThreadPool::work(int rank, int core) {
  // The constructor has seen that the whole set can be had; a core lost since then costs only
  // speed.
  if (core >= 0) bind({&core, 1});
  uint32_t seen = 0;
  while (true) {
    wait_while(job_number_, seen, spin_us, max_spin_us_);
    seen = job_number_.load(std::memory_order_acquire);
    if (stopping_) return;
    execute(rank);
    if (unfinished_.fetch_sub(1, std::memory_order_acq_rel) == 1) unfinished_.notify_one();
  }
}

void ThreadPool::execute(int rank) {
  try {
    job_(context_, rank);
  } catch (const Broken&) {
  } catch (...) {
    {
      const std::lock_guard lock(failure_lock_);
      if (!failure_) failure_ = std::current_exception();
    }
    failed_.store(true);
    barrier_number_.fetch_add(1);
    barrier_number_.notify_all();
  }
}

void ThreadPool::run_job(Job job, void* context) {
  if (size_ == 1) {
    job(context, 0);
    return;
  }
  job_ = job;
  context_ = context;
  unfinished_.store(size_ - 1, std::memory_order_relaxed);
  job_number_.fetch_add(1);
  job_number_.notify_all();
  execute(0);
  for (uint32_t left = unfinished_.load(std::memory_order_acquire); left != 0;
       left = unfinished_.load(std::memory_order_acquire)) {
    wait_while(unfinished_, left, spin_us, max_spin_us_);
  }
  if (failed_.load()) {
    failed_.store(false);
    arrived_.store(0);
    std::rethrow_exception(std::exchange(failure_, nullptr));
  }
}

void ThreadPool::barrier() {
  if (size_ == 1) return;
  const uint32_t number = barrier_number_.load(std::memory_order_acquire);
  if (failed_.load()) throw Broken();
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
    arrived_.store(0, std::memory_order_relaxed);
    barrier_number_.fetch_add(1);
    barrier_number_.notify_all();
  } else {
    wait_while(barrier_number_, number, spin_us, max_spin_us_);
  }
  if (failed_.load()) throw Broken();
}

}  // namespace dinfer::cpu
