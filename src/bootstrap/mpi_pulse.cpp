#include "bootstrap/mpi_pulse.h"

#include <algorithm>
#include <array>
#include <optional>

#include <fmt/ranges.h>

#include "base/log.h"
#include "bootstrap/mpi_session.h"
#include "net/handshake.h"
#include "net/interfaces.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

using Seconds = std::chrono::duration<double>;

// Hosts that can talk at all have done so by then.
constexpr Seconds kLongestCall{5};
constexpr Seconds kLastCallers{0.3};
// With one of several addresses, more in each round.
constexpr auto kFirstAttempt = 300ms;

// What rank 0 tells the others over MPI.
struct Invitation {
  Nonce secret{};
  uint16_t port = 0;
  std::array<char, 2048> addresses{};  // separated by blanks
};

std::string_view secret_of(const Invitation& invitation) {
  return {reinterpret_cast<const char*>(invitation.secret.data()), invitation.secret.size()};
}

Invitation invite(const Socket& listener, const std::string& listen_host) {
  Invitation invitation{.secret = random_nonce(), .port = port_of(listener)};
  std::string text = listen_host;
  if (text.empty()) text = fmt::format("{}", fmt::join(own_addresses(), " "));
  text.copy(invitation.addresses.data(), invitation.addresses.size() - 1);
  return invitation;
}

// Where rank 0 cannot listen, all ranks end.
Invitation exchange_invitation(MPI_Comm all, const World& world, const std::string& listen_host,
                               Socket& listener) {
  Invitation invitation;
  std::optional<Error> refused;
  if (world.rank == 0) {
    try {
      listener = listen_at({listen_host, 0});
      invitation = invite(listener, listen_host);
    } catch (const Error& error) {
      refused = error;
    }
  }
  check_mpi(MPI_Bcast(&invitation, sizeof invitation, MPI_BYTE, 0, all), "MPI_Bcast");
  if (refused) throw *refused;
  if (invitation.port == 0)
    fail(ExitCode::config, "rank 0 cannot listen for signs of life: its own message tells why");
  return invitation;
}

std::vector<HostPort> places_of(const Invitation& invitation) {
  std::vector<HostPort> places;
  const std::string_view text(invitation.addresses.data());
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find(' ', at), text.size());
    places.push_back({std::string(text.substr(at, end - at)), invitation.port});
    at = end + 1;
  }
  return places;
}

// By rank; none for those that have not come.
using Links = std::vector<std::optional<Channel>>;

Links wait_for_calls(const Socket& listener, const Invitation& invitation, int size,
                     Deadline deadline) {
  Links links(static_cast<size_t>(size));
  Reception reception(listener, std::string(secret_of(invitation)));
  const auto complete = [&] {
    return std::all_of(links.begin() + 1, links.end(), [](const auto& link) { return !!link; });
  };
  while (!complete()) {
    std::optional<Guest> guest = reception.next(deadline);
    if (!guest) break;
    const int rank = guest->hello.rank;
    // A rank calls again only after it has given up its last call.
    if (rank > 0 && rank < size) links[static_cast<size_t>(rank)] = std::move(guest->channel);
  }
  return links;
}

std::optional<Channel> call_head(const Invitation& invitation, const World& world,
                                 Deadline deadline) {
  const std::vector<HostPort> places = places_of(invitation);
  const Hello hello = introduce(Purpose::pulse, world.rank, world.size, world.local_size);
  for (std::chrono::milliseconds patience = kFirstAttempt; !deadline.expired(); patience *= 2) {
    for (const HostPort& place : places) {
      try {
        return call(place, secret_of(invitation), hello,
                    Deadline::after(std::min(patience, deadline.remaining())));
      } catch (const Error& error) {
        log::debug("no sign of life to {}: {}", place.text(), error.what());
      }
    }
    if (places.empty()) break;
  }
  return std::nullopt;
}

// What both sides have is kept: a call may have been given up when it was just taken.
void agree_on_links(MPI_Comm all, const World& world, Links& links) {
  std::vector<uint8_t> called(links.size()), kept(links.size());
  const uint8_t mine = world.rank == 0 || links[0];
  check_mpi(MPI_Allgather(&mine, 1, MPI_UINT8_T, called.data(), 1, MPI_UINT8_T, all),
            "MPI_Allgather");
  for (size_t rank = 1; world.rank == 0 && rank < links.size(); ++rank) {
    if (links[rank]) links[rank]->receive();
    kept[rank] = called[rank] && links[rank] && links[rank]->lost().empty();
    if (!kept[rank]) links[rank].reset();
  }
  check_mpi(MPI_Bcast(kept.data(), static_cast<int>(kept.size()), MPI_UINT8_T, 0, all),
            "MPI_Bcast");
  if (world.rank != 0 && !kept[static_cast<size_t>(world.rank)]) links[0].reset();
}

void warn_of_missing(const Links& links, const PeerWait& peers, const Invitation& invitation) {
  std::vector<std::string> missing;
  for (size_t rank = 1; rank < links.size(); ++rank)
    if (!links[rank])
      missing.push_back(
          fmt::format("rank {} (host {})", rank, peers.peer(static_cast<int>(rank)).host));
  if (missing.empty()) return;
  log::warn(
      "no signs of life from {}: no TCP connection with rank 0 at {}, port {}; should such a rank "
      "stop, only --step-timeout tells. --control-interface names the network to use",
      fmt::join(missing, ", "), invitation.addresses.data(), invitation.port);
}

}  // namespace

std::unique_ptr<Pulse> start_mpi_pulse(MPI_Comm all, const World& world, const PeerWait& peers,
                                       const MpiPulsePlan& plan) {
  Socket listener;
  const Invitation invitation = exchange_invitation(all, world, plan.listen_host, listener);
  const Seconds call_for = std::min(kLongestCall, plan.start_timeout / 3);
  Links links(static_cast<size_t>(world.size));
  if (world.rank == 0)
    links =
        wait_for_calls(listener, invitation, world.size, Deadline::after(call_for + kLastCallers));
  else
    links[0] = call_head(invitation, world, Deadline::after(call_for));
  agree_on_links(all, world, links);
  if (world.rank == 0) warn_of_missing(links, peers, invitation);
  std::vector<Pulse::Link> kept;
  for (size_t rank = 0; rank < links.size(); ++rank)
    if (links[rank]) kept.push_back({static_cast<int>(rank), std::move(*links[rank])});
  if (kept.empty()) return nullptr;
  return std::make_unique<Pulse>(world.rank, std::move(kept), plan.longest_silence);
}

}  // namespace dinfer
