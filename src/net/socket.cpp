#include "net/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <memory>
#include <thread>
#include <vector>

#include "base/error.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

constexpr auto kFirstPause = 10ms;
constexpr auto kLongestPause = 500ms;
// One attempt: a lost SYN is sent again after 1 s.
constexpr std::chrono::seconds kAttempt{3};
constexpr int kBacklog = 1024;

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

std::string reason(int error) { return std::generic_category().message(error); }

// Empty with the reason in *why when the name cannot be resolved.
Addresses resolve(const HostPort& at, int flags, std::string* why) {
  const addrinfo hints{
      .ai_flags = flags | AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = getaddrinfo(at.host.empty() ? nullptr : at.host.c_str(),
                                std::to_string(at.port).c_str(), &hints, &found);
  if (error) *why = error == EAI_SYSTEM ? reason(errno) : gai_strerror(error);
  return {error ? nullptr : found, &freeaddrinfo};
}

Socket open_socket(int family) {
  return Socket(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
}

void set_flag(const Socket& socket, int level, int name, int value) {
  setsockopt(socket.fd(), level, name, &value, sizeof value);
}

// 0, or the errno of the attempt.
int connect_once(const Socket& socket, const addrinfo& to, Deadline deadline) {
  if (connect(socket.fd(), to.ai_addr, to.ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  if (!wait_ready(socket.fd(), POLLOUT, deadline)) return ETIMEDOUT;
  int error = 0;
  socklen_t length = sizeof error;
  getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &length);
  return error;
}

// A socket that has found its own port free may be connected to itself.
bool is_own_echo(const Socket& socket) {
  sockaddr_storage mine{}, theirs{};
  socklen_t mine_length = sizeof mine, theirs_length = sizeof theirs;
  getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&mine), &mine_length);
  getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&theirs), &theirs_length);
  const auto* a = reinterpret_cast<const std::byte*>(&mine);
  const auto* b = reinterpret_cast<const std::byte*>(&theirs);
  return mine_length == theirs_length && std::equal(a, a + mine_length, b);
}

// A connected socket; none with the reason in *why.
std::optional<Socket> try_connect(const HostPort& to, Deadline deadline, std::string* why) {
  const Addresses addresses = resolve(to, 0, why);
  for (const addrinfo* at = addresses.get(); at; at = at->ai_next) {
    Socket socket = open_socket(at->ai_family);
    if (!socket) {
      *why = reason(errno);
      continue;
    }
    const Deadline attempt =
        Deadline::after(std::min<std::chrono::duration<double>>(kAttempt, deadline.remaining()));
    const int error = connect_once(socket, *at, attempt);
    if (error == 0 && !is_own_echo(socket)) {
      set_flag(socket, IPPROTO_TCP, TCP_NODELAY, 1);
      return socket;
    }
    *why = reason(error == 0 ? ECONNREFUSED : error);
  }
  return std::nullopt;
}

template <class Get>
std::string address_text(int fd, Get get) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  std::array<char, NI_MAXHOST> text{};
  if (get(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) return "";
  if (getnameinfo(reinterpret_cast<sockaddr*>(&address), length, text.data(), text.size(), nullptr,
                  0, NI_NUMERICHOST) != 0)
    return "";
  const std::string_view numeric(text.data());
  constexpr std::string_view kMapped = "::ffff:";  // IPv4 on a socket that takes both
  return std::string(numeric.starts_with(kMapped) ? numeric.substr(kMapped.size()) : numeric);
}

}  // namespace

std::string HostPort::text() const {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

HostPort parse_host_port(std::string_view text, std::string_view what) {
  const size_t colon = text.rfind(':');
  std::string_view host = text.substr(0, colon);
  const std::string_view digits =
      colon == std::string_view::npos ? std::string_view() : text.substr(colon + 1);
  const bool brackets = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (brackets) host = host.substr(1, host.size() - 2);
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc{} || end != digits.data() + digits.size() || port == 0 || host.empty() ||
      (!brackets && host.find(':') != std::string_view::npos))
    fail(ExitCode::config, "{}={}: must be HOST:PORT, such as node0:9000 or [fd00::1]:9000", what,
         text);
  return {std::string(host), port};
}

Socket& Socket::operator=(Socket&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void Socket::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Socket listen_at(const HostPort& at) {
  std::string why = "no such address";
  int error = 0;
  const Addresses addresses = resolve(at, AI_PASSIVE, &why);
  std::vector<const addrinfo*> order;
  for (const addrinfo* each = addresses.get(); each; each = each->ai_next) order.push_back(each);
  // IPv6 first: with no host given, that socket takes IPv4 connections, too.
  std::ranges::stable_sort(order, [](const addrinfo* a, const addrinfo* b) {
    return a->ai_family == AF_INET6 && b->ai_family != AF_INET6;
  });
  for (const addrinfo* each : order) {
    Socket socket = open_socket(each->ai_family);
    if (!socket) {
      why = reason(errno);
      continue;
    }
    set_flag(socket, SOL_SOCKET, SO_REUSEADDR, 1);
    if (each->ai_family == AF_INET6) set_flag(socket, IPPROTO_IPV6, IPV6_V6ONLY, !at.host.empty());
    if (bind(socket.fd(), each->ai_addr, each->ai_addrlen) == 0 &&
        listen(socket.fd(), kBacklog) == 0)
      return socket;
    error = errno;
    why = reason(error);
    if (error == EADDRINUSE) break;
  }
  const std::string where = at.host.empty() ? fmt::format("port {}", at.port) : at.text();
  if (error == EADDRINUSE)
    fail(ExitCode::address_in_use,
         "cannot listen at {}: another program does (`ss -ltnp` names it); stop it or take another "
         "port",
         where);
  fail(ExitCode::config, "cannot listen at {}: {}", where, why);
}

uint16_t port_of(const Socket& listener) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  check(getsockname(listener.fd(), reinterpret_cast<sockaddr*>(&address), &length) == 0,
        "a listener has an address");
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<sockaddr_in&>(address).sin_port);
}

std::optional<Socket> accept_from(const Socket& listener) {
  Socket socket(accept4(listener.fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) return std::nullopt;
  set_flag(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  return socket;
}

Socket connect_to(const HostPort& to, Deadline deadline, const Look& look) {
  std::string why = "not tried";
  std::chrono::milliseconds pause = kFirstPause;
  do {
    if (std::optional<Socket> socket = try_connect(to, deadline, &why)) return std::move(*socket);
    look();
    std::this_thread::sleep_for(std::min(pause, deadline.remaining()));
    pause = std::min<std::chrono::milliseconds>(2 * pause, kLongestPause);
  } while (!deadline.expired());
  fail(
      ExitCode::peer,
      "cannot connect to {}: {}: is the rank that listens there started, and is the address right?",
      to.text(), why);
}

std::string local_address(const Socket& socket) { return address_text(socket.fd(), getsockname); }
std::string peer_address(const Socket& socket) { return address_text(socket.fd(), getpeername); }

bool is_loopback(std::string_view numeric_address) {
  return numeric_address.starts_with("127.") || numeric_address == "::1";
}

bool resolves_to_loopback(const std::string& host) {
  std::string why;
  const Addresses addresses = resolve({host, 0}, 0, &why);
  for (const addrinfo* each = addresses.get(); each; each = each->ai_next) {
    const std::string text = address_text(0, [&](int, sockaddr* out, socklen_t* length) {
      std::copy_n(reinterpret_cast<const std::byte*>(each->ai_addr), each->ai_addrlen,
                  reinterpret_cast<std::byte*>(out));
      *length = each->ai_addrlen;
      return 0;
    });
    if (!is_loopback(text)) return false;
  }
  return addresses != nullptr;
}

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

bool wait_ready(int fd, short events, Deadline deadline) {
  pollfd watch{.fd = fd, .events = events, .revents = 0};
  for (;;) {
    const auto left = std::min<int64_t>(deadline.remaining().count() + 1, 60'000);
    const int ready = poll(&watch, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (deadline.expired()) return false;
  }
}

}  // namespace dinfer
