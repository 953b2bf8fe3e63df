#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace dinfer {

struct StoppedProcess {
  int rank = 0;
  double seconds = 0;  // for which it has been seen stopped
};

// Looks for ranks among this host's processes that are stopped (SIGSTOP, a debugger) for too long,
// by their state in /proc: such a rank neither dies nor answers.
class StoppedProcesses {
 public:
  void watch(int rank, int64_t pid, std::chrono::duration<double> limit);

  // The first that is over its limit. Cheap to call often: it looks a few times a second.
  std::optional<StoppedProcess> look();

 private:
  using Clock = std::chrono::steady_clock;

  struct Watched {
    int rank;
    int64_t pid;
    std::chrono::duration<double> limit;
    std::optional<Clock::time_point> since;
  };

  std::vector<Watched> watched_;
  Clock::time_point last_look_;
};

}  // namespace dinfer
