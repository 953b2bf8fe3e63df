#pragma once

#include <chrono>
#include <memory>

#include "comm/communicator.h"
#include "comm/ring_links.h"

namespace dinfer {

// Host memory of at least two ranks in a ring of TCP connections. Short sums: every rank's values
// go round and all add them in the order of the ranks; long ones: reduce-scatter, then all-gather
// (P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of workstations",
// 2009), where what has arrived of a chunk moves on before the rest has come. Point to point only
// between neighbours.
std::unique_ptr<Communicator> make_ring_communicator(std::shared_ptr<TcpSession> session,
                                                     RingLinks links,
                                                     std::chrono::duration<double> step_timeout);

}  // namespace dinfer
