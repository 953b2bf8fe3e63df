#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "bootstrap/pulse.h"
#include "net/handshake.h"

namespace dinfer {

// What a rank knows of the job before it has met the others.
struct StarPlan {
  int rank = 0;
  int size = 1;
  int local_size = 1;  // ranks of each node; 0: nodes may differ
  HostPort head;       // where rank 0 listens
  std::string secret;  // empty: none
  // How the user knows a rank: "rank 3 (worker 0, local rank 1)".
  std::function<std::string(int rank)> describe;
};

// A rank of the job as the head has met it.
struct Member {
  std::string host;
  int64_t pid = 0;
  uint64_t machine = 0;  // equal for ranks of one running system
  std::string address;   // numeric: where the other ranks reach it
};

// All ranks, connected: the head with each, the others with the head.
struct Star {
  std::vector<Member> members;   // by rank
  std::vector<Channel> control;  // on the head by rank, its own closed; else only the head's
  std::vector<Pulse::Link> pulse;
};

// The head's side: waits at `listener` for all other ranks. Ranks that do not come are named by an
// Error(peer); one that comes twice or belongs to another world is an Error(config) on all.
Star gather_ranks(const Socket& listener, const StarPlan& plan, Deadline deadline);

// The other ranks' side.
Star join_head(const StarPlan& plan, Deadline deadline);

}  // namespace dinfer
