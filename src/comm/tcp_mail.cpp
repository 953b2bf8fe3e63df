#include "comm/tcp_mail.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/error.h"
#include "base/signals_blocked.h"
#include "net/handshake.h"

namespace dinfer {
namespace {

constexpr std::chrono::seconds kLastDelivery{2};
constexpr std::chrono::milliseconds kLook{100};  // between two looks at whether the end has come
constexpr int kLooksForGuest = 60;               // as long as callers may take, and a little

// Bytes that the socket takes of the parts; none where it takes no more now. A connection that has
// ended takes everything: the pulse tells of the peer.
size_t send_parts(const Socket& socket, std::span<iovec> parts) {
  size_t all = 0;
  for (const iovec& part : parts) all += part.iov_len;
  const msghdr message{.msg_iov = parts.data(), .msg_iovlen = parts.size()};
  const ssize_t bytes = sendmsg(socket.fd(), &message, MSG_NOSIGNAL);
  if (bytes >= 0) return static_cast<size_t>(bytes);
  return would_block(errno) ? 0 : all;
}

iovec part_of(std::span<const std::byte> data) {
  return {const_cast<std::byte*>(data.data()), data.size()};
}

// One message on its way in. Nothing blocks.
class Arriving {
 public:
  Arriving(std::span<std::byte> header, std::span<std::byte> data) : parts_{header, data} {}

  // True once the current part is whole; `ended` is set when nothing more will come.
  bool fill(int part, const Socket& socket, bool* ended) {
    std::span<std::byte>& rest = parts_[static_cast<size_t>(part)];
    while (!rest.empty()) {
      const ssize_t bytes = recv(socket.fd(), rest.data(), rest.size(), 0);
      if (bytes == 0 || (bytes < 0 && !would_block(errno))) *ended = true;
      if (bytes <= 0) return false;
      rest = rest.subspan(static_cast<size_t>(bytes));
    }
    return true;
  }

 private:
  std::array<std::span<std::byte>, 2> parts_;  // what is missing of each
};

}  // namespace

TcpMail::TcpMail(std::shared_ptr<TcpSession> session, Socket listener, std::vector<HostPort> places,
                 std::string secret)
    : session_(std::move(session)),
      listener_(std::move(listener)),
      places_(std::move(places)),
      secret_(std::move(secret)) {
  const SignalsBlocked blocked;
  doorkeeper_ = std::thread([this] { take_connections(); });
}

TcpMail::~TcpMail() {
  try {
    session_->wait().until([&] { return !has_backlog(); }, [] { return std::vector<int>(); },
                           Deadline::after(kLastDelivery), "send");
  } catch (const Error&) {
    // The receiver is gone or does not want them: whoever waits for it says so.
  }
  stopping_ = true;
  stop_.raise();
  doorkeeper_.join();
  if (carrier_.joinable()) carrier_.join();
}

void TcpMail::send(int peer, std::span<const std::byte> data, Deadline deadline) {
  Outgoing& to = connection_to(peer, deadline);
  const Header header{to.sent++, data.size()};
  std::span<const std::byte> head = std::as_bytes(std::span(&header, 1));
  do {
    const size_t bytes = std::min(data.size(), kChunk);
    const auto has_room = [&] { return backlog_of(to) + bytes <= kMostBytes; };
    session_->wait().until(
        has_room, [&] { return std::vector<int>{peer}; }, deadline, "send", kMostBytes);
    enqueue(to, head, data.first(bytes));
    data = data.subspan(bytes);
    head = {};
  } while (!data.empty());
}

// Gives the socket what it takes at once; the carrier has the rest.
void TcpMail::enqueue(Outgoing& to, std::span<const std::byte> head,
                      std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  size_t taken = 0;
  if (to.bytes == 0) {
    std::array<iovec, 2> parts{part_of(head), part_of(data)};
    taken = send_parts(to.socket, parts);
    if (taken == head.size() + data.size()) return;
  }
  const size_t of_head = std::min(taken, head.size());
  head = head.subspan(of_head);
  data = data.subspan(taken - of_head);
  std::vector<std::byte>& rest = to.backlog.emplace_back();
  rest.reserve(head.size() + data.size());
  rest.insert(rest.end(), head.begin(), head.end());
  rest.insert(rest.end(), data.begin(), data.end());
  to.bytes += rest.size();
  backlogged_.raise();
  if (carrier_.joinable()) return;
  const SignalsBlocked blocked;
  carrier_ = std::thread([this] { send_backlogs(); });
}

void TcpMail::receive(int peer, std::span<std::byte> data, Deadline deadline) {
  Header header{};
  Arriving message(std::as_writable_bytes(std::span(&header, 1)), data);
  std::array<pollfd, 1> wake{{{.fd = arrival_.fd(), .events = POLLIN}}};
  Incoming* from = nullptr;
  bool ended = false, strange = false;
  const auto done = [&] {
    if (!from) from = connection_from(peer);
    if (!from || ended) return false;
    wake[0].fd = from->socket.fd();
    if (!message.fill(0, from->socket, &ended)) {
      if (ended) wake[0].fd = -1;
      return false;
    }
    strange = header.number != from->received || header.bytes != data.size();
    if (strange || message.fill(1, from->socket, &ended)) return true;
    if (ended) wake[0].fd = -1;
    return false;
  };
  session_->wait().until(
      done, [&] { return std::vector<int>{peer}; }, deadline, "receive", 0, wake);
  if (strange)
    session_->wait().fail_diverged(
        peer, fmt::format("message {} of {} bytes", header.number, header.bytes),
        fmt::format("receive {} of {} bytes", from->received, data.size()));
  ++from->received;
}

TcpMail::Outgoing& TcpMail::connection_to(int peer, Deadline deadline) {
  {
    const std::lock_guard lock(mutex_);
    const auto known = outgoing_.find(peer);
    if (known != outgoing_.end()) return known->second;
  }
  const World& world = session_->world();
  const auto start = Deadline::Clock::now();
  const Hello hello = introduce(Purpose::pair, world.rank, world.size, 0);
  Socket socket;
  try {
    socket = call(places_[static_cast<size_t>(peer)], secret_, hello, deadline, [&] {
               session_->wait().check_peers();
             }).release();
  } catch (const Error&) {
    if (!deadline.expired()) throw;
    session_->wait().fail_late({peer}, Deadline::Clock::now() - start, "send");
  }
  const std::lock_guard lock(mutex_);
  return outgoing_.emplace(peer, Outgoing{.socket = std::move(socket)}).first->second;
}

TcpMail::Incoming* TcpMail::connection_from(int peer) {
  arrival_.lower();  // before the look: what comes after it raises it again
  const std::lock_guard lock(mutex_);
  const auto known = incoming_.find(peer);
  return known == incoming_.end() ? nullptr : &known->second;
}

// The doorkeeper's thread.
void TcpMail::take_connections() {
  Reception reception(listener_, secret_);
  std::array<pollfd, 2> watched{
      {{.fd = listener_.fd(), .events = POLLIN}, {.fd = stop_.fd(), .events = POLLIN}}};
  while (!stopping_) {
    poll(watched.data(), watched.size(), -1);
    // Someone came: others may be half-way, too.
    for (int look = 0; look < kLooksForGuest && !stopping_; ++look) {
      std::optional<Guest> guest = reception.next(Deadline::after(kLook));
      if (!guest) continue;
      look = 0;
      const Hello& hello = guest->hello;
      if (hello.purpose != static_cast<uint32_t>(Purpose::pair) ||
          hello.size != session_->world().size || hello.rank < 0 || hello.rank >= hello.size)
        continue;
      const std::lock_guard lock(mutex_);
      incoming_.try_emplace(hello.rank, Incoming{.socket = guest->channel.release()});
      arrival_.raise();
    }
  }
}

// The carrier's thread.
void TcpMail::send_backlogs() {
  while (!stopping_) {
    std::vector<pollfd> watched{{.fd = stop_.fd(), .events = POLLIN},
                                {.fd = backlogged_.fd(), .events = POLLIN}};
    {
      const std::lock_guard lock(mutex_);
      for (auto& [rank, to] : outgoing_)
        if (!flush(to)) watched.push_back({.fd = to.socket.fd(), .events = POLLOUT});
    }
    poll(watched.data(), watched.size(), -1);
    backlogged_.lower();
  }
}

// Sends what the socket takes. True once nothing is left.
bool TcpMail::flush(Outgoing& to) {
  while (to.bytes > 0) {
    std::array<iovec, 1> part{part_of(std::span(to.backlog.front()).subspan(to.offset))};
    const size_t taken = send_parts(to.socket, part);
    if (taken == 0) return false;
    to.offset += taken;
    to.bytes -= taken;
    if (to.offset < to.backlog.front().size()) continue;
    to.backlog.pop_front();
    to.offset = 0;
  }
  return true;
}

size_t TcpMail::backlog_of(const Outgoing& to) {
  const std::lock_guard lock(mutex_);
  return to.bytes;
}

bool TcpMail::has_backlog() {
  const std::lock_guard lock(mutex_);
  return std::ranges::any_of(outgoing_, [](const auto& each) { return each.second.bytes > 0; });
}

}  // namespace dinfer
