#pragma once

#include <memory>

#include "comm/host_communicator.h"

namespace dinfer {

// A group of one rank.
std::unique_ptr<HostCommunicator> make_single_communicator();

}  // namespace dinfer
