#include "bootstrap/tcp_control_plane.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>

#include "bootstrap/session_control_plane.h"

namespace dinfer {
namespace {

enum class Message : uint32_t { broadcast = 1, part, parts, late };

constexpr std::array<std::string_view, 5> kNames = {"unknown", "broadcast", "all_gather",
                                                    "all_gather", "a wait that failed"};

// The others give the head this time to say who was missing before they blame the head.
constexpr std::chrono::milliseconds kHeadSpeaks{500};

struct PartHeader {
  uint64_t bytes;
};

void append_part(Bytes& out, const Bytes& part) {
  const PartHeader header{part.size()};
  const ByteView head = view_of(header);
  out.insert(out.end(), head.begin(), head.end());
  out.insert(out.end(), part.begin(), part.end());
}

std::vector<Bytes> split_parts(std::span<const std::byte> all, size_t count) {
  std::vector<Bytes> parts;
  while (!all.empty()) {
    PartHeader header{};
    check(all.size() >= sizeof header, "a part has a header");
    std::memcpy(&header, all.data(), sizeof header);
    all = all.subspan(sizeof header);
    check(all.size() >= header.bytes, "a part is whole");
    parts.emplace_back(all.begin(), all.begin() + static_cast<ptrdiff_t>(header.bytes));
    all = all.subspan(header.bytes);
  }
  check(parts.size() == count, "the head sends a part of each rank");
  return parts;
}

// Everything passes through the head. A connection that breaks is not judged here: the pulse says
// within milliseconds what became of the rank.
class TcpControlPlane final : public SessionControlPlane<TcpSession> {
 public:
  explicit TcpControlPlane(std::shared_ptr<TcpSession> session)
      : SessionControlPlane(std::move(session)) {}

  void broadcast(Bytes& message, Deadline deadline) override {
    ++call_;
    if (rank() == 0) {
      check_peers();  // small messages leave without waiting for anyone
      send_to_all(Message::broadcast, message, deadline, "broadcast");
    } else {
      message = receive_from_head(Message::broadcast, deadline, "broadcast");
    }
  }

  std::vector<Bytes> all_gather(const Bytes& message, Deadline deadline) override {
    return exchange(message, deadline, "all_gather");
  }

  void barrier(Deadline deadline) override { exchange({}, deadline, "barrier"); }

 private:
  std::vector<Bytes> exchange(const Bytes& message, Deadline deadline, std::string_view what) {
    ++call_;
    if (rank() == 0) {
      std::vector<Bytes> parts = collect(message, deadline, what);
      Bytes all;
      for (const Bytes& part : parts) append_part(all, part);
      send_to_all(Message::parts, all, deadline, what);
      return parts;
    }
    Channel& head = session_->control(0);
    head.send(static_cast<uint32_t>(Message::part), call_, message);
    const Bytes all = receive_from_head(Message::parts, deadline, what);
    return split_parts(all, static_cast<size_t>(size()));
  }

  void send_to_all(Message type, const Bytes& message, Deadline deadline, std::string_view what) {
    std::vector<pollfd> wake;
    for (int peer = 1; peer < size(); ++peer) {
      Channel& channel = session_->control(peer);
      channel.send(static_cast<uint32_t>(type), call_, message);
      if (!channel.flush()) wake.push_back({.fd = channel.fd(), .events = POLLOUT});
    }
    if (wake.empty()) return;
    const auto unsent = [&] {
      std::vector<int> ranks;
      for (int peer = 1; peer < size(); ++peer)
        if (!session_->control(peer).flush()) ranks.push_back(peer);
      return ranks;
    };
    session_->wait().until([&] { return unsent().empty(); }, unsent, deadline, what, 0, wake);
  }

  // The parts of all ranks, on the head.
  std::vector<Bytes> collect(const Bytes& own, Deadline deadline, std::string_view what) {
    std::vector<std::optional<Bytes>> parts(static_cast<size_t>(size()));
    parts[0] = own;
    std::vector<pollfd> wake(parts.size(), pollfd{.fd = -1, .events = POLLIN});
    const auto missing = [&] {
      std::vector<int> ranks;
      for (int peer = 1; peer < size(); ++peer)
        if (!parts[static_cast<size_t>(peer)]) ranks.push_back(peer);
      return ranks;
    };
    const auto done = [&] {
      for (const int peer : missing()) {
        Channel& channel = session_->control(peer);
        std::optional<Frame> frame = channel.receive();
        if (frame) parts[static_cast<size_t>(peer)] = take(peer, std::move(*frame), Message::part);
        const bool open = !frame && channel.lost().empty();
        wake[static_cast<size_t>(peer)].fd = open ? channel.fd() : -1;
      }
      return missing().empty();
    };
    try {
      session_->wait().until(done, missing, deadline, what, 0, wake);
    } catch (const Error&) {
      tell_who_is_late(missing());
      throw;
    }
    std::vector<Bytes> all;
    for (std::optional<Bytes>& part : parts) all.push_back(std::move(*part));
    return all;
  }

  void tell_who_is_late(const std::vector<int>& late) {
    const auto bytes = std::as_bytes(std::span(late));
    for (int peer = 1; peer < size(); ++peer)
      if (std::ranges::find(late, peer) == late.end())
        session_->control(peer).send(static_cast<uint32_t>(Message::late), call_, bytes);
  }

  Bytes receive_from_head(Message type, Deadline deadline, std::string_view what) {
    const auto start = Deadline::Clock::now();
    Channel& head = session_->control(0);
    std::optional<Frame> frame;
    std::array<pollfd, 1> wake{{{.fd = head.fd(), .events = POLLIN}}};
    const auto done = [&] {
      if (!head.flush())
        wake[0].events = POLLIN | POLLOUT;
      else
        wake[0].events = POLLIN;
      frame = head.receive();
      if (!head.lost().empty()) wake[0].fd = -1;
      return frame.has_value();
    };
    const Deadline patience =
        type == Message::parts ? Deadline::after(deadline.remaining() + kHeadSpeaks) : deadline;
    session_->wait().until(
        done, [] { return std::vector<int>{0}; }, patience, what, 0, wake);
    if (frame->type == static_cast<uint32_t>(Message::late)) {
      std::vector<int> late(frame->payload.size() / sizeof(int));
      std::memcpy(late.data(), frame->payload.data(), late.size() * sizeof(int));
      for (const int each : late) check(each >= 0 && each < size(), "the head names ranks");
      session_->wait().fail_late(late, Deadline::Clock::now() - start, what);
    }
    return take(0, std::move(*frame), type);
  }

  // The payload of a message that is the one awaited.
  Bytes take(int peer, Frame frame, Message type) const {
    if (frame.type != static_cast<uint32_t>(type) || frame.call != call_)
      session_->wait().fail_diverged(peer, describe(frame.type, frame.call),
                                     describe(static_cast<uint32_t>(type), call_));
    return std::move(frame.payload);
  }

  static std::string describe(uint32_t type, uint32_t call) {
    return fmt::format("control call {} ({})", call, kNames[type < kNames.size() ? type : 0]);
  }

  uint32_t call_ = 0;
};

}  // namespace

std::unique_ptr<ControlPlane> make_tcp_control_plane(std::shared_ptr<TcpSession> session) {
  return std::make_unique<TcpControlPlane>(std::move(session));
}

}  // namespace dinfer
