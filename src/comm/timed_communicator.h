#pragma once

#include <memory>

#include "comm/communicator.h"

namespace dinfer {

// What a rank has spent in the calls of its communicators, by the host's clock. Calls that only
// queue work on a device count as long as the queueing takes.
struct CallTime {
  double seconds = 0;
};

// The same communicator, whose calls are added to `time`, which outlives it. A group of one stays
// as it is: its calls do nothing.
std::unique_ptr<Communicator> timed(std::unique_ptr<Communicator> communicator, CallTime& time);

}  // namespace dinfer
