#pragma once

#include <chrono>
#include <memory>

#include "comm/host_communicator.h"
#include "comm/members.h"
#include "comm/ring_links.h"

namespace dinfer {

// Host memory of the members, at least two, in a ring of TCP connections. Short sums: every rank's
// values go round and all add them in the order of the ranks; long ones: reduce-scatter, then
// all-gather (P. Patarasuk, X. Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
// workstations", 2009), where what has arrived of a chunk moves on before the rest has come.
// Messages have connections of their own.
std::unique_ptr<HostCommunicator> make_ring_communicator(
    std::shared_ptr<TcpSession> session, Members members, TcpLinks links,
    std::chrono::duration<double> step_timeout);

}  // namespace dinfer
