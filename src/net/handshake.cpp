#include "net/handshake.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "base/error.h"
#include "base/log.h"

namespace dinfer {
namespace {

constexpr uint32_t kVersion = 1;
constexpr std::array<char, 8> kMagic = {'d', 'i', 'n', 'f', 'e', 'r', '\r', '\n'};
constexpr size_t kMostVisitors = 64;
constexpr std::chrono::seconds kVisitorPatience{5};
constexpr std::chrono::seconds kProofPatience{2};  // where others want to come in
constexpr int kRefusalsLogged = 5;
constexpr std::chrono::milliseconds kLookEvery{200};
constexpr size_t kPrefixBytes = 16;  // magic, version, bytes: the same in every version

struct Greeting {  // caller to listener
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t bytes = sizeof(Hello);
  Hello hello;
  Nonce nonce{};
};
static_assert(sizeof(Greeting) + sizeof(Digest) <= 256);

struct Reply {  // listener to caller
  std::array<char, 8> magic = kMagic;
  uint32_t version = kVersion;
  uint32_t bytes = sizeof(Digest);
  Nonce nonce{};
  Digest proof{};
};

ByteView key_of(std::string_view secret) {
  return bytes_of(secret.empty() ? std::string_view("no secret") : secret);
}

SessionKeys keys_of(std::string_view secret, ByteView greeting, const Nonce& nonce) {
  const ByteView key = key_of(secret);
  return {.to_listener = hmac(key, {bytes_of("dinfer to listener"), greeting, nonce}),
          .to_caller = hmac(key, {bytes_of("dinfer to caller"), greeting, nonce})};
}

Digest listener_proof(std::string_view secret, ByteView greeting, const Nonce& nonce) {
  return hmac(key_of(secret), {bytes_of("dinfer listener"), greeting, nonce});
}

Digest caller_proof(std::string_view secret, ByteView greeting, const Nonce& nonce) {
  return hmac(key_of(secret), {bytes_of("dinfer caller"), greeting, nonce});
}

// These few bytes always fit the socket's buffer; a socket that does not take them is broken.
bool send_at_once(const Socket& socket, ByteView bytes) {
  return send(socket.fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
         static_cast<ssize_t>(bytes.size());
}

// False when the connection or the time ended first.
bool read_exactly(const Socket& socket, std::span<std::byte> out, Deadline deadline,
                  const Look& look) {
  while (!out.empty()) {
    const Deadline slice = Deadline::after(std::min(kLookEvery, deadline.remaining()));
    if (!wait_ready(socket.fd(), POLLIN, slice)) {
      look();
      if (deadline.expired()) return false;
      continue;
    }
    const ssize_t bytes = recv(socket.fd(), out.data(), out.size(), 0);
    if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EINTR)) return false;
    if (bytes > 0) out = out.subspan(static_cast<size_t>(bytes));
  }
  return true;
}

uint64_t machine_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string text;
  file >> text;
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return std::hash<std::string>()(text + host);
}

// One call; none when the connection broke off and may be tried again.
std::optional<Channel> call_once(const HostPort& to, std::string_view secret, const Hello& hello,
                                 Deadline deadline, const Look& look) {
  Socket socket = connect_to(to, deadline, look);
  const Greeting greeting{.hello = hello, .nonce = random_nonce()};
  Reply reply;
  if (!send_at_once(socket, view_of(greeting)) ||
      !read_exactly(socket, std::as_writable_bytes(std::span(&reply, 1)).first(kPrefixBytes),
                    deadline, look))
    return std::nullopt;
  if (reply.magic != kMagic)
    fail(ExitCode::config, "what listens at {} is not dinfer: check address and port", to.text());
  if (reply.version != kVersion || reply.bytes != sizeof(Digest))
    fail(ExitCode::config,
         "the dinfer at {} speaks version {} of the protocol among ranks, this one version {}: "
         "start the same dinfer everywhere",
         to.text(), reply.version, kVersion);
  if (!read_exactly(socket, std::as_writable_bytes(std::span(&reply, 1)).subspan(kPrefixBytes),
                    deadline, look))
    return std::nullopt;
  if (!equal_digests(reply.proof, listener_proof(secret, view_of(greeting), reply.nonce)))
    fail(
        ExitCode::config,
        "the dinfer at {} has another secret than this rank: give all ranks the same --secret-file "
        "or DINFER_SECRET",
        to.text());
  if (!send_at_once(socket, caller_proof(secret, view_of(greeting), reply.nonce)))
    return std::nullopt;
  return Channel(std::move(socket), keys_of(secret, view_of(greeting), reply.nonce), Side::caller);
}

}  // namespace

Hello introduce(Purpose purpose, int rank, int size, int local_size) {
  Hello hello{.purpose = static_cast<uint32_t>(purpose),
              .rank = rank,
              .size = size,
              .local_size = local_size,
              .pid = getpid(),
              .machine = machine_id()};
  gethostname(hello.host, sizeof hello.host - 1);
  return hello;
}

Channel call(const HostPort& to, std::string_view secret, const Hello& hello, Deadline deadline,
             const Look& look) {
  while (!deadline.expired()) {
    if (std::optional<Channel> channel = call_once(to, secret, hello, deadline, look))
      return std::move(*channel);
    look();
    usleep(20'000);
  }
  fail(ExitCode::peer,
       "{} took the connection but did not answer in time: is it the head of this "
       "job, and does it wait for ranks?",
       to.text());
}

std::optional<Guest> Reception::next(Deadline deadline) {
  while (!deadline.expired()) {
    std::vector<pollfd> watched{{.fd = listener_.fd(), .events = POLLIN, .revents = 0}};
    for (const Visitor& visitor : visitors_)
      watched.push_back({.fd = visitor.socket.fd(), .events = POLLIN, .revents = 0});
    const auto patience = std::min<int64_t>(deadline.remaining().count() + 1, 100);
    poll(watched.data(), watched.size(), static_cast<int>(patience));
    for (size_t i = 0; i < visitors_.size();) {
      const Progress progress = advance(visitors_[i]);
      if (progress == Progress::waits) {
        ++i;
        continue;
      }
      Visitor visitor = std::move(visitors_[i]);
      visitors_.erase(visitors_.begin() + static_cast<ptrdiff_t>(i));
      if (progress == Progress::is_guest) return welcome(std::move(visitor));
    }
    take_new();
  }
  return std::nullopt;
}

void Reception::take_new() {
  while (std::optional<Socket> socket = accept_from(listener_)) {
    if (visitors_.size() == kMostVisitors && !make_room()) continue;  // it may call again
    std::string from = peer_address(*socket);
    visitors_.push_back({.socket = std::move(*socket),
                         .from = std::move(from),
                         .patience = Deadline::after(kVisitorPatience)});
    if (advance(visitors_.back()) == Progress::leaves) visitors_.pop_back();
  }
}

// Those who have greeted keep their places for a while: they believe themselves connected once they
// have sent their proof. Of the others the one that has been silent longest leaves.
bool Reception::make_room() {
  const auto greeted = [](const Visitor& visitor) { return !visitor.greeting.empty(); };
  auto leaving = std::ranges::find_if(visitors_, [&](const Visitor& visitor) {
    return !greeted(visitor) && visitor.received.empty();
  });
  if (leaving == visitors_.end()) leaving = std::ranges::find_if_not(visitors_, greeted);
  if (leaving == visitors_.end())
    leaving = std::ranges::find_if(visitors_, [](const Visitor& visitor) {
      return visitor.patience.remaining() < kVisitorPatience - kProofPatience;
    });
  if (leaving == visitors_.end()) return false;
  visitors_.erase(leaving);
  return true;
}

Reception::Progress Reception::advance(Visitor& visitor) {
  const size_t wanted = visitor.greeting.empty() ? sizeof(Greeting) : sizeof(Digest);
  std::array<std::byte, sizeof(Greeting)> buffer;
  const ssize_t bytes =
      recv(visitor.socket.fd(), buffer.data(), wanted - visitor.received.size(), 0);
  if (bytes == 0 || (bytes < 0 && errno != EAGAIN && errno != EINTR)) {
    refuse(visitor, visitor.greeting.empty()
                        ? "it closed the connection before it said who it is"
                        : "it closed the connection before it proved the secret: another secret?");
    return Progress::leaves;
  }
  if (bytes < 0) {
    if (!visitor.patience.expired()) return Progress::waits;
    refuse(visitor, "it did not say who it is in time");
    return Progress::leaves;
  }
  visitor.received.insert(visitor.received.end(), buffer.begin(), buffer.begin() + bytes);
  // What is no greeting from its first bytes on is not waited for.
  if (visitor.greeting.empty() && !is_understood(visitor)) return Progress::leaves;
  if (visitor.received.size() < wanted) return advance(visitor);
  return visitor.greeting.empty() ? greet(visitor) : judge(visitor);
}

bool Reception::is_understood(const Visitor& visitor) {
  Greeting greeting;
  const size_t known = std::min(visitor.received.size(), kPrefixBytes);
  std::memcpy(&greeting, visitor.received.data(), known);
  if (greeting.magic != kMagic) {
    refuse(visitor, "it is not dinfer");
    return false;
  }
  if (known < kPrefixBytes || (greeting.version == kVersion && greeting.bytes == sizeof(Hello)))
    return true;
  send_at_once(visitor.socket, view_of(Reply{}));  // which says our version
  refuse(visitor, fmt::format("it speaks version {} of the protocol, this dinfer version {}",
                              greeting.version, kVersion));
  return false;
}

Reception::Progress Reception::greet(Visitor& visitor) {
  visitor.greeting = std::move(visitor.received);
  visitor.received = {};
  visitor.nonce = random_nonce();
  const Reply reply{.nonce = visitor.nonce,
                    .proof = listener_proof(secret_, visitor.greeting, visitor.nonce)};
  return send_at_once(visitor.socket, view_of(reply)) ? Progress::waits : Progress::leaves;
}

Reception::Progress Reception::judge(Visitor& visitor) {
  const Digest expected = caller_proof(secret_, visitor.greeting, visitor.nonce);
  if (equal_digests(visitor.received, expected)) return Progress::is_guest;
  refuse(visitor, "it has another secret");
  return Progress::leaves;
}

void Reception::refuse(const Visitor& visitor, const std::string& why) {
  last_refusal_ = fmt::format("{}: {}", visitor.from, why);
  if (++refusals_ <= kRefusalsLogged)
    log::warn("a connection from {} was turned away: {}{}", visitor.from, why,
              refusals_ == kRefusalsLogged ? " (no more such lines)" : "");
}

Guest Reception::welcome(Visitor visitor) const {
  Greeting greeting;
  std::memcpy(&greeting, visitor.greeting.data(), sizeof greeting);
  greeting.hello.host[sizeof greeting.hello.host - 1] = '\0';
  const SessionKeys keys = keys_of(secret_, visitor.greeting, visitor.nonce);
  return {.channel = Channel(std::move(visitor.socket), keys, Side::listener),
          .hello = greeting.hello,
          .from = std::move(visitor.from)};
}

}  // namespace dinfer
