#include "comm/ring_links.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <future>

namespace dinfer {
namespace {

// Between two looks at whether the job still stands.
constexpr std::chrono::duration<double> kLook{0.25};

Deadline slice(Deadline deadline) {
  return Deadline::after(std::min<std::chrono::duration<double>>(kLook, deadline.remaining()));
}

// The left neighbour's connection.
Socket receive_left(const Socket& listener, std::string_view secret, const World& world, int left,
                    Deadline deadline, const Look& look) {
  Reception reception(listener, std::string(secret));
  std::optional<Guest> guest;
  while (!guest && !deadline.expired()) {
    guest = reception.next(slice(deadline));
    look();
  }
  if (!guest)
    fail(ExitCode::peer, "rank {} waits for its left neighbour, rank {}, at port {}: nobody came{}",
         world.rank, left, port_of(listener),
         reception.last_refusal().empty() ? "; is that rank's right_ip and right_port this one?"
                                          : "; turned away: " + reception.last_refusal());
  const Hello& hello = guest->hello;
  if (hello.purpose != static_cast<uint32_t>(Purpose::ring) || hello.rank != left ||
      hello.size != world.size)
    fail(ExitCode::config,
         "the ring does not close: at port {} rank {} of {} waits for rank {}, but rank {} of {} "
         "(pid {} on host {}) came: check rank, right_ip and right_port of both",
         port_of(listener), world.rank, world.size, left, hello.rank, hello.size, hello.pid,
         hello.host);
  return guest->channel.release();
}

// Where all ranks of the job listen, this one at `own`.
std::vector<HostPort> tell_ports(const Socket& own, TcpSession& session, ControlPlane& control,
                                 Deadline deadline) {
  const uint16_t port = port_of(own);
  const auto bytes = std::as_bytes(std::span(&port, 1));
  std::vector<HostPort> places;
  for (const Bytes& theirs : control.all_gather({bytes.begin(), bytes.end()}, deadline)) {
    check(theirs.size() == sizeof port, "a rank tells its port");
    HostPort& place = places.emplace_back();
    place.host = session.member(static_cast<int>(places.size()) - 1).address;
    std::memcpy(&place.port, theirs.data(), sizeof place.port);
  }
  return places;
}

}  // namespace

RingLinks close_ring(const Socket& listener, const HostPort& right, std::string_view secret,
                     TcpSession& session, const Members& members, Deadline deadline) {
  const World& world = session.world();
  const int left = members[(members.rank() + members.size() - 1) % members.size()];
  std::atomic<bool> given_up{false};
  std::future<Socket> calling = std::async(std::launch::async, [&] {
    const Hello hello = introduce(Purpose::ring, world.rank, world.size, 0);
    const Look look = [&] {
      if (given_up) fail(ExitCode::peer, "the job ended while the ring was being closed");
    };
    return call(right, secret, hello, deadline, look).release();
  });
  RingLinks links;
  const auto look_around = [&](std::chrono::duration<double> patience) {
    session.wait().check_peers();
    if (!links.right && calling.wait_for(patience) == std::future_status::ready)
      links.right = calling.get();
  };
  try {
    links.left = receive_left(listener, secret, world, left, deadline,
                              [&] { look_around(std::chrono::seconds(0)); });
    while (!links.right) look_around(kLook);
  } catch (const Error&) {
    given_up = true;
    throw;
  }
  return links;
}

TcpLinks open_links(const std::shared_ptr<TcpSession>& session, ControlPlane& control,
                    const std::string& secret, const Members& members, Deadline deadline,
                    std::optional<RingLinks> ring) {
  Socket listener = listen_at({session->member(session->world().rank).address, 0});
  std::vector<HostPort> places = tell_ports(listener, *session, control, deadline);
  const auto right = static_cast<size_t>(members[(members.rank() + 1) % members.size()]);
  if (!ring && members.size() > 1)
    ring = close_ring(listener, places[right], secret, *session, members, deadline);
  // Before that nobody may call for another purpose.
  control.barrier(deadline);
  if (members.size() == 1) return {};
  return {
      .ring = std::move(*ring),
      .mail = std::make_unique<TcpMail>(session, std::move(listener), std::move(places), secret)};
}

}  // namespace dinfer
