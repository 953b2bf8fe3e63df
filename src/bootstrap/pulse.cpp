#include "bootstrap/pulse.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "base/signals_blocked.h"

namespace dinfer {
namespace {

using namespace std::chrono_literals;

constexpr auto kPeriod = 500ms;
// A thread that was not scheduled for so long cannot judge the silence of others.
constexpr auto kOwnAbsence = 1s;
constexpr auto kGoodbye = 300ms;

enum class Sign : uint32_t { beat = 1, bye, ended, lost };

struct LossRecord {
  int32_t kind;
  int32_t rank;
  int32_t code;
  double silence_s;
};

}  // namespace

Pulse::Pulse(int rank, std::vector<Link> links, std::chrono::duration<double> longest_silence)
    : rank_(rank),
      longest_silence_(std::chrono::duration_cast<Clock::duration>(longest_silence)),
      period_(std::min<Clock::duration>(kPeriod, longest_silence_ / 4)) {
  const Clock::time_point now = Clock::now();
  for (Link& link : links) peers_.push_back({.link = std::move(link), .heard = now});
  const SignalsBlocked blocked;
  thread_ = std::thread([this] { run(); });
}

std::optional<Loss> Pulse::loss() const {
  if (!lost_.load(std::memory_order_acquire)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  return loss_;
}

void Pulse::leave(ExitCode code) {
  if (!thread_.joinable()) return;
  farewell_ = static_cast<int>(code);
  stop_.raise();
  thread_.join();
}

void Pulse::run() {
  Clock::time_point seen = Clock::now();
  Clock::time_point next_beat = seen;
  for (;;) {
    wait(std::min(next_beat, next_judgement()));
    const Clock::time_point now = Clock::now();
    if (now - seen > kOwnAbsence)
      for (Peer& peer : peers_) peer.heard = now;
    seen = now;
    pollfd stopped{.fd = stop_.fd(), .events = POLLIN, .revents = 0};
    if (poll(&stopped, 1, 0) > 0) return say_goodbye();
    for (Peer& peer : peers_)
      if (peer.open) hear(peer, now);
    if (now < next_beat) continue;
    beat();
    next_beat = now + period_;
  }
}

// When the peer that has been silent longest is so for too long.
Pulse::Clock::time_point Pulse::next_judgement() const {
  Clock::time_point next = Clock::time_point::max();
  for (const Peer& peer : peers_)
    if (peer.open) next = std::min(next, peer.heard + longest_silence_ + 1ms);
  return next;
}

void Pulse::wait(Clock::time_point until) {
  std::vector<pollfd> watched{{.fd = stop_.fd(), .events = POLLIN, .revents = 0}};
  for (const Peer& peer : peers_)
    if (peer.open) watched.push_back({.fd = peer.link.channel.fd(), .events = POLLIN});
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
  poll(watched.data(), watched.size(), static_cast<int>(std::max<int64_t>(left, 0)));
}

void Pulse::hear(Peer& peer, Clock::time_point now) {
  while (const std::optional<Frame> frame = peer.link.channel.receive()) {
    peer.heard = now;
    take(peer, *frame);
    if (!peer.open) return;
  }
  Loss loss{.rank = peer.link.rank};
  if (!peer.link.channel.lost().empty()) {
    log::debug("the connection with rank {} ended: {}", loss.rank, peer.link.channel.lost());
  } else if (now - peer.heard > longest_silence_) {
    loss.kind = Loss::Kind::silent;
    loss.silence_s = std::chrono::duration<double>(now - peer.heard).count();
  } else {
    return;
  }
  peer.open = false;
  lose(loss);
}

void Pulse::take(Peer& peer, const Frame& frame) {
  const auto sign = static_cast<Sign>(frame.type);
  if (sign == Sign::bye) peer.open = false;
  if (sign == Sign::beat && frame.payload.size() == sizeof peer.progress) {
    const uint64_t before = peer.progress;
    std::memcpy(&peer.progress, frame.payload.data(), sizeof peer.progress);
    others_progress_ += peer.progress - before;
  }
  const bool tells = sign == Sign::ended || (sign == Sign::lost && rank_ != 0);
  if (!tells || frame.payload.size() != sizeof(LossRecord)) return;
  LossRecord record{};
  std::memcpy(&record, frame.payload.data(), sizeof record);
  // Of itself a rank tells only that it ends; of others only the head tells.
  const bool of_itself = sign == Sign::ended;
  if (of_itself) peer.open = false;
  lose({.kind = of_itself ? Loss::Kind::ended : static_cast<Loss::Kind>(record.kind),
        .rank = of_itself ? peer.link.rank : record.rank,
        .code = record.code,
        .silence_s = record.silence_s});
}

void Pulse::beat() {
  const uint64_t done = rank_ == 0 ? progress() : own_progress_.load();
  for (Peer& peer : peers_)
    if (peer.open) peer.link.channel.send(static_cast<uint32_t>(Sign::beat), 0, view_of(done));
}

void Pulse::tell(const Loss& loss, int except) {
  const LossRecord record{static_cast<int32_t>(loss.kind), loss.rank, loss.code, loss.silence_s};
  for (Peer& peer : peers_)
    if (peer.open && peer.link.rank != except)
      peer.link.channel.send(static_cast<uint32_t>(Sign::lost), 0, view_of(record));
}

void Pulse::lose(const Loss& loss) {
  if (lost_) return;
  {
    const std::lock_guard lock(mutex_);
    loss_ = loss;
  }
  lost_.store(true, std::memory_order_release);
  news_.raise();
  if (rank_ == 0) tell(loss, loss.rank);
}

// The others read the goodbye before this side closes: what a closed socket has not read would
// take it away again.
void Pulse::say_goodbye() {
  const LossRecord record{.rank = rank_, .code = farewell_};
  const bool clean = farewell_ == 0;
  for (Peer& peer : peers_) {
    if (!peer.open) continue;
    peer.link.channel.send(static_cast<uint32_t>(clean ? Sign::bye : Sign::ended), 0,
                           clean ? ByteView() : view_of(record));
    peer.link.channel.finish_sending();
  }
  const Clock::time_point end = Clock::now() + kGoodbye;
  for (Peer& peer : peers_) {
    while (peer.link.channel.lost().empty() && Clock::now() < end) {
      wait_ready(peer.link.channel.fd(), POLLIN, Deadline::after(end - Clock::now()));
      while (peer.link.channel.receive()) {
      }
    }
  }
  for (Peer& peer : peers_) peer.link.channel = Channel({}, {}, Side::caller);
}

}  // namespace dinfer
