#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/deadline.h"
#include "bootstrap/control_plane.h"
#include "bootstrap/world.h"

namespace dinfer {

// What must be equal on all ranks: name and value, e.g. {"quant", "4"}.
using Facts = std::vector<std::pair<std::string, std::string>>;

// Collective. Compares the facts of all ranks. A difference is an Error(config) on every rank: on
// the head its message lists only the facts that differ, with the ranks behind each value; the
// other ranks give the head time to print it and to end the job, then throw a short one.
void agree(ControlPlane& control, const World& world, const Facts& facts, Deadline deadline);

// Ascending ranks for a message, e.g. "0-2,4".
std::string list_ranks(const std::vector<int>& ranks);

// The facts of one rank, and where it runs.
struct RankFacts {
  std::string host;
  Facts facts;
};

// A line for each fact that differs, in the order of the facts, e.g.
//   quant: 4 on ranks 0-2,4; 8 on rank 3 (node2)
// Empty when all ranks (by index) agree.
std::string describe_differences(const std::vector<RankFacts>& ranks);

}  // namespace dinfer
