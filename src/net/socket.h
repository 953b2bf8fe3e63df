#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/deadline.h"

namespace dinfer {

// A host (name, IPv4 or IPv6 address) and a TCP port.
struct HostPort {
  std::string host;
  uint16_t port = 0;

  std::string text() const;  // "node1:9000", "[::1]:9000"
};

// "node1:9000", "10.0.0.1:9000", "[::1]:9000"; anything else is an Error(config) that begins with
// `what`.
HostPort parse_host_port(std::string_view text, std::string_view what);

// A TCP socket, closed with its owner. All are non-blocking, close-on-exec and without delay of
// small messages.
class Socket {
 public:
  Socket() = default;
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept;
  ~Socket() { close(); }

  int fd() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void close();

 private:
  int fd_ = -1;
};

// Listens at `at`; an empty host means every address of this machine, port 0 any free port. A port
// that is taken is an Error(address_in_use), an address that is not this machine's Error(config).
Socket listen_at(const HostPort& at);
uint16_t port_of(const Socket& listener);

// The next connection, if one waits.
std::optional<Socket> accept_from(const Socket& listener);

// Called from time to time during a long wait, which it ends by throwing.
using Look = std::function<void()>;

// Connects, trying again with growing pauses until the deadline: Error(peer) with the last reason.
// A host name that cannot be resolved is tried again, too: name services start late.
Socket connect_to(const HostPort& to, Deadline deadline, const Look& look = [] {});

// Numeric, without port.
std::string local_address(const Socket& socket);
std::string peer_address(const Socket& socket);
bool is_loopback(std::string_view numeric_address);

// Whether `host` (name or address) means this machine only.
bool resolves_to_loopback(const std::string& host);

// Whether a call on a socket failed with this errno only because it would have had to wait.
bool would_block(int error);

// Waits until `fd` is ready for `events` of poll(); false at the deadline.
bool wait_ready(int fd, short events, Deadline deadline);

}  // namespace dinfer
