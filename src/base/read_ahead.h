#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace dinfer {

// Results of jobs in the order of the jobs, worked out by several threads that keep some jobs ahead
// of whoever takes the results. What a job throws comes out of the take() that is its turn.
template <class Result>
class ReadAhead {
 public:
  using Job = std::function<Result()>;

  // At most `ahead` results wait to be taken.
  ReadAhead(std::vector<Job> jobs, size_t threads, size_t ahead)
      : jobs_(std::move(jobs)), results_(jobs_.size()), ahead_(std::max<size_t>(ahead, 1)) {
    for (size_t i = 0; i < std::min(std::max<size_t>(threads, 1), jobs_.size()); ++i) {
      try {
        threads_.emplace_back([this] { work(); });
      } catch (const std::system_error&) {
        if (threads_.empty()) throw;
        break;  // fewer do the same work
      }
    }
  }

  ~ReadAhead() {
    {
      const std::lock_guard lock(mutex_);
      next_ = jobs_.size();
    }
    changed_.notify_all();
    for (std::thread& thread : threads_) thread.join();
  }

  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  // The next job's result; one for each job.
  Result take() {
    std::unique_lock lock(mutex_);
    Outcome& outcome = results_.at(taken_);
    changed_.wait(lock, [&] { return outcome.result || outcome.error; });
    ++taken_;
    changed_.notify_all();
    if (outcome.error) std::rethrow_exception(outcome.error);
    Result result = std::move(*outcome.result);
    outcome.result.reset();
    return result;
  }

 private:
  struct Outcome {
    std::optional<Result> result;
    std::exception_ptr error;
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return next_ >= jobs_.size() || next_ < taken_ + ahead_; });
      if (next_ >= jobs_.size()) return;
      const size_t index = next_++;
      lock.unlock();
      Outcome outcome;
      try {
        outcome.result = jobs_[index]();
      } catch (...) {
        outcome.error = std::current_exception();
      }
      lock.lock();
      results_[index] = std::move(outcome);
      changed_.notify_all();
    }
  }

  std::vector<Job> jobs_;
  std::vector<Outcome> results_;
  const size_t ahead_;
  size_t next_ = 0, taken_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::thread> threads_;
};

}  // namespace dinfer
