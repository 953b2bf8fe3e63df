#pragma once

#include <string>

namespace dinfer {

// Of a job: more than any cluster has devices for.
inline constexpr int kMostRanks = 65536;

// Who this process is among all. Made once by a bootstrap, never changed.
struct World {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the ranks of this host
  int local_size = 1;
  int nodes = 1;
  int ordinal = 0;  // of this rank's GPU among those that its node's ranks see
  std::string host;
};

}  // namespace dinfer
