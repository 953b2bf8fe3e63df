#include "cli/start_idle.h"

#include <poll.h>

namespace dinfer {

namespace {

// A rank that was lost is noticed and told of within this time.
constexpr int kLookMilliseconds = 100;
constexpr std::chrono::milliseconds kHeartbeat{static_cast<int>(Engine::kHeartbeatSeconds * 1000)};

}  // namespace

bool IdleWait::ready(int fd, short events) {
  pollfd watched{.fd = fd, .events = events, .revents = 0};
  const bool ready = poll(&watched, 1, kLookMilliseconds) > 0;
  engine_.check_ranks();
  // Also where something comes each time, but little: the ranks hear of none of it.
  if (const auto now = std::chrono::steady_clock::now(); now >= next_heartbeat_) {
    engine_.heartbeat();
    next_heartbeat_ = now + kHeartbeat;
  }
  return ready;
}

}  // namespace dinfer
