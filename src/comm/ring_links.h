#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/deadline.h"
#include "bootstrap/control_plane.h"
#include "bootstrap/tcp_session.h"
#include "comm/members.h"
#include "comm/tcp_mail.h"

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

struct TcpLinks {
  RingLinks ring;
  std::unique_ptr<TcpMail> mail;
};

// Collective, all ranks at once, each with its own group: the connections of its members, at ports
// that the ranks tell each other by `control`; `ring` where there is one already. Empty for a group
// of one.
TcpLinks open_links(const std::shared_ptr<TcpSession>& session, ControlPlane& control,
                    const std::string& secret, const Members& members, Deadline deadline,
                    std::optional<RingLinks> ring = {});

}  // namespace dinfer
