#pragma once

#include <optional>

#include "net/socket.h"

namespace dinfer {

// What supervise() returned as: the supervisor once all its ranks have ended, or one of the ranks.
struct Supervised {
  std::optional<int> exit_code;  // of the supervisor
  int local_rank = 0;
};

struct SupervisorPlan {
  int ranks = 2;
  int first_rank = 0;          // of the world; rank 0 keeps standard input
  Socket* listener = nullptr;  // for the first of the ranks alone: closed in all others and here
};

// Makes `ranks` processes of this one, which must have a single thread and have touched no device
// yet, and stays their supervisor: passes signals on (SIGUSR2 to all; others to rank 0 where it is
// among them, which then ends the job in good order), ends all when one fails, and lets none live
// when it dies itself. Its exit code is that of the first rank that failed; a rank that a signal
// killed makes it 7.
Supervised supervise(const SupervisorPlan& plan);

}  // namespace dinfer
