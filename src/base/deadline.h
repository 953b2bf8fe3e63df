#pragma once

#include <algorithm>
#include <chrono>

namespace dinfer {

// A point in time by which a wait must end. Every wait in the program takes one.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  static Deadline after(std::chrono::duration<double> seconds) {
    return Deadline(Clock::now() + std::chrono::duration_cast<Clock::duration>(seconds));
  }

  bool expired() const { return Clock::now() >= at_; }
  std::chrono::milliseconds remaining() const {
    return std::max(std::chrono::milliseconds(0),
                    std::chrono::duration_cast<std::chrono::milliseconds>(at_ - Clock::now()));
  }

 private:
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

}  // namespace dinfer
