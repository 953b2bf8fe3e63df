#pragma once

#include <chrono>
#include <cstdint>

namespace dinfer {

// How far loading is, on standard error: a bar that is drawn anew on a terminal, one line at the
// end otherwise. For the head alone: its slices stand for all ranks'.
class LoadReport {
 public:
  LoadReport();

  void update(uint64_t done, uint64_t total);  // bytes
  void finish();

 private:
  using Clock = std::chrono::steady_clock;

  bool terminal_;
  Clock::time_point begin_;
  Clock::time_point drawn_;
  uint64_t total_ = 0;
};

}  // namespace dinfer
