#pragma once

#include <memory>

#include "comm/communicator.h"

namespace dinfer {

// A group of one rank.
std::unique_ptr<Communicator> make_single_communicator();

}  // namespace dinfer
