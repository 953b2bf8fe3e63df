#pragma once

#include <chrono>

#include "engine/engine.h"

namespace dinfer {

// How a command waits for its input or output while it has ranks waiting: they get their
// heartbeats, and the loss of one ends the wait by its Error. Between steps only.
class IdleWait {
 public:
  explicit IdleWait(Engine& engine) : engine_(engine) {}

  // Whether `fd` is ready for `events` of poll(); waits a tenth of a second for it, or until a
  // signal comes.
  bool ready(int fd, short events);

 private:
  Engine& engine_;
  std::chrono::steady_clock::time_point next_heartbeat_;
};

}  // namespace dinfer
