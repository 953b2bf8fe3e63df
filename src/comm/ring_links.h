#pragma once

#include <vector>

#include "base/deadline.h"
#include "bootstrap/control_plane.h"
#include "bootstrap/tcp_session.h"
#include "comm/members.h"

namespace dinfer {

// The connections of one rank of a ring: `right` to the next rank, which it called, `left` from the
// one before. With two ranks both lead to the same peer.
struct RingLinks {
  Socket left, right;
};

// Calls the right neighbour at `right` and takes the left one at `listener`, both at once: the
// neighbours must prove the secret and be the members that close the ring, or it is an
// Error(config) that names who came instead.
RingLinks close_ring(const Socket& listener, const HostPort& right, std::string_view secret,
                     TcpSession& session, const Members& members, Deadline deadline);

// Where the listeners of all ranks are. Collective: they tell each other by `control`. `own`
// listens at the address that the others know this rank by.
std::vector<HostPort> tell_ports(const Socket& own, TcpSession& session, ControlPlane& control,
                                 Deadline deadline);

// Collective, all ranks at once, each with its own group: the ring of its members, where the ranks
// have no ports of their own yet. Empty for a group of one.
RingLinks open_ring(TcpSession& session, ControlPlane& control, std::string_view secret,
                    const Members& members, Deadline deadline);

}  // namespace dinfer
