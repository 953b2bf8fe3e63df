#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "comm/communicator.h"

namespace dinfer::test {

// Runs `rank_main` on `ranks` threads that share one group, and waits for all. When ranks throw,
// the first exception is thrown again here; ranks that wait for one that threw give up with
// Error(peer). Deterministic: sums are taken in rank order.
void spawn(int ranks, const std::function<void(Communicator& group)>& rank_main);

// A group of some of the ranks of `world`, as spawn() made it, `members` ascending. Collective over
// the members.
std::unique_ptr<Communicator> subgroup(Communicator& world, const std::vector<int>& members);

}  // namespace dinfer::test
