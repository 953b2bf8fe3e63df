#include "bootstrap/mpi_control_plane.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <list>
#include <span>

#include "bootstrap/mpi_requests.h"
#include "bootstrap/session_control_plane.h"

namespace dinfer {
namespace {

enum class Operation : uint32_t { broadcast, all_gather, barrier };

constexpr std::array<std::string_view, 3> kOperationNames = {"broadcast", "all_gather", "barrier"};

// A message is a first part that holds this header and as much as fits, and a tail when there is
// more: parts of the same size, of a message beyond kMostEager a single one. Small parts are sent
// eagerly by every MPI: they are on their way whatever the receiver does.
struct Header {
  Operation operation;
  uint32_t sequence;  // of the control plane's calls: the same on all ranks that are in step
  uint64_t bytes;     // of the message
};

constexpr size_t kFirst = 3584;
constexpr size_t kInline = kFirst - sizeof(Header);
constexpr size_t kMostEager = size_t{64} << 10;

// How long the head looks after a message that has left, and how many its receivers may be behind.
constexpr std::chrono::microseconds kSeenOff{100};
constexpr size_t kMostBehind = 8;

class MpiControlPlane final : public SessionControlPlane<MpiSession> {
 public:
  explicit MpiControlPlane(std::shared_ptr<MpiSession> session)
      : SessionControlPlane(std::move(session)),
        incoming_(size()),
        received_(size()),
        comm_(session_->duplicate()),
        requests_(comm_, session_->wait()) {}

  void broadcast(Bytes& message, Deadline deadline) override {
    ++sequence_;
    if (rank() == 0) {
      check_peers();  // small messages leave without waiting for anyone
      send_to_all(message, deadline);
    } else {
      requests_.receive_up_to(0, incoming_[0], &received_[0]);
      requests_.wait(deadline, "broadcast");
      message.resize(unpack_first(0, Operation::broadcast));
      take_inline(0, message);
      receive_tail(0, message);
      requests_.wait(deadline, "broadcast");
    }
  }

  std::vector<Bytes> all_gather(const Bytes& message, Deadline deadline) override {
    return exchange(Operation::all_gather, message, deadline);
  }

  void barrier(Deadline deadline) override { exchange(Operation::barrier, {}, deadline); }

 private:
  using First = std::array<std::byte, kFirst>;

  // A broadcast on its way.
  struct Letter {
    explicit Letter(const MpiControlPlane& plane) : requests(plane.comm_, plane.session_->wait()) {}

    First first;
    Bytes message;
    MpiRequests requests;
  };

  // Receivers that are at work take it later. MPI tells that it has left only once they do.
  void send_to_all(const Bytes& message, Deadline deadline) {
    std::erase_if(letters_, [](Letter& letter) { return letter.requests.test("broadcast"); });
    if (letters_.size() >= kMostBehind) {
      letters_.front().requests.wait(deadline, "broadcast");
      letters_.pop_front();
    }
    Letter& letter = letters_.emplace_back(*this);
    letter.message = message;
    pack_first(Operation::broadcast, message, letter.first);
    for (int peer = 1; peer < size(); ++peer) {
      send_first(peer, message, letter.first, letter.requests);
      send_tail(peer, letter.message, letter.requests);
    }
    if (message.size() > kMostEager) return letter.requests.wait(deadline, "broadcast");
    const auto end = std::chrono::steady_clock::now() + kSeenOff;
    while (!letter.requests.test("broadcast") && std::chrono::steady_clock::now() < end) {
    }
  }

  std::vector<Bytes> exchange(Operation operation, const Bytes& message, Deadline deadline) {
    ++sequence_;
    const std::string_view what = kOperationNames[static_cast<size_t>(operation)];
    pack_first(operation, message, outgoing_);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      requests_.receive_up_to(peer, incoming_[peer], &received_[peer]);
      send_first(peer, message, outgoing_, requests_);
    }
    requests_.wait(deadline, what);
    std::vector<Bytes> all(size());
    all[rank()] = message;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      all[peer].resize(unpack_first(peer, operation));
      take_inline(peer, all[peer]);
      receive_tail(peer, all[peer]);
      send_tail(peer, message, requests_);
    }
    requests_.wait(deadline, what);
    return all;
  }

  void pack_first(Operation operation, const Bytes& message, First& first) const {
    const Header header{operation, sequence_, message.size()};
    std::memcpy(first.data(), &header, sizeof header);
    std::ranges::copy(std::span(message).first(inline_bytes(message)),
                      first.begin() + sizeof header);
  }

  static void send_first(int peer, const Bytes& message, const First& first,
                         MpiRequests& requests) {
    requests.send(peer, std::span(first).first(sizeof(Header) + inline_bytes(message)));
  }

  static void send_tail(int peer, const Bytes& message, MpiRequests& requests) {
    for_tail(std::span(message),
             [&](std::span<const std::byte> part) { requests.send(peer, part); });
  }

  // Runs `work` on the parts of a message behind the first.
  template <class Byte, class Work>
  static void for_tail(std::span<Byte> message, const Work& work) {
    if (message.size() <= kInline) return;
    const size_t most = message.size() <= kMostEager ? kFirst : message.size();
    for (size_t at = kInline; at < message.size(); at += most)
      work(message.subspan(at, std::min(most, message.size() - at)));
  }

  // Checks what `peer` sent and returns the size of its message.
  size_t unpack_first(int peer, Operation operation) {
    Header header{};
    const size_t bytes = received_[peer];
    check(bytes >= sizeof header, "a control message has a header");
    std::memcpy(&header, incoming_[peer].data(), sizeof header);
    if (header.operation != operation || header.sequence != sequence_)
      session_->wait().fail_diverged(peer, describe(header.operation, header.sequence),
                                     describe(operation, sequence_));
    check(bytes - sizeof header == std::min<size_t>(header.bytes, kInline),
          "the first part is as full as it can be");
    return header.bytes;
  }

  static std::string describe(Operation operation, uint32_t sequence) {
    const auto index = static_cast<size_t>(operation);
    return fmt::format("control call {} ({})", sequence,
                       index < kOperationNames.size() ? kOperationNames[index] : "unknown");
  }

  void take_inline(int peer, Bytes& message) const {
    std::ranges::copy(std::span(incoming_[peer]).subspan(sizeof(Header), inline_bytes(message)),
                      message.begin());
  }

  void receive_tail(int peer, Bytes& message) {
    for_tail(std::span(message), [&](std::span<std::byte> part) { requests_.receive(peer, part); });
  }

  static size_t inline_bytes(const Bytes& message) { return std::min(message.size(), kInline); }

  uint32_t sequence_ = 0;
  First outgoing_{};
  std::vector<First> incoming_;   // by rank
  std::vector<size_t> received_;  // bytes of `incoming_`
  MPI_Comm comm_;
  MpiRequests requests_;
  std::list<Letter> letters_;  // on the head: broadcasts on their way, oldest first
};

}  // namespace

std::unique_ptr<ControlPlane> make_mpi_control_plane(std::shared_ptr<MpiSession> session) {
  return std::make_unique<MpiControlPlane>(std::move(session));
}

}  // namespace dinfer
