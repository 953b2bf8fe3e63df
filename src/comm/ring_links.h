#pragma once

#include <memory>

#include "base/deadline.h"
#include "bootstrap/control_plane.h"
#include "bootstrap/tcp_session.h"

namespace dinfer {

// The connections of one rank of a ring: `right` to the next rank, which it called, `left` from the
// one before. With two ranks both lead to the same peer.
struct RingLinks {
  Socket left, right;
};

// Calls the right neighbour at `right` and takes the left one at `listener`, both at once: the
// neighbours must prove the secret and be the ranks that close the ring, or it is an Error(config)
// that names who came instead.
RingLinks close_ring(const Socket& listener, const HostPort& right, std::string_view secret,
                     TcpSession& session, Deadline deadline);

// Collective: the same where the ranks have no ports of their own yet. Each opens one, and they
// tell each other by `control`.
RingLinks open_ring(TcpSession& session, ControlPlane& control, std::string_view secret,
                    Deadline deadline);

}  // namespace dinfer
