#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "base/error.h"

namespace dinfer {

// Bounds a library call that cannot be polled: when this object still lives after `limit`, the
// process logs `message` and ends at once with `code`.
class ExitTimer {
 public:
  ExitTimer(std::chrono::duration<double> limit, ExitCode code, std::string message);
  ~ExitTimer();

 private:
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace dinfer
