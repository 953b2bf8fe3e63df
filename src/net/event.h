#pragma once

#include "net/socket.h"

namespace dinfer {

// Ends a poll() of another thread: `fd` is readable from raise() until lower().
class Event {
 public:
  Event();  // Error(config) where the process has no descriptor left

  int fd() const { return descriptor_.fd(); }
  void raise() const;
  void lower() const;

 private:
  Socket descriptor_;  // an eventfd
};

}  // namespace dinfer
