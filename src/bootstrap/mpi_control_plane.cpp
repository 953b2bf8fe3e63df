#include "bootstrap/mpi_control_plane.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>

#include "bootstrap/mpi_requests.h"
#include "bootstrap/session_control_plane.h"

namespace dinfer {
namespace {

enum class Operation : uint32_t { broadcast, all_gather, barrier };

constexpr std::array<std::string_view, 3> kOperationNames = {"broadcast", "all_gather", "barrier"};

// A message is a first part that holds this header and as much as fits, and a tail when there is
// more. The first part is sent eagerly by every MPI: a small message costs one trip.
struct Header {
  Operation operation;
  uint32_t sequence;  // of the control plane's calls: the same on all ranks that are in step
  uint64_t bytes;     // of the message
};

constexpr size_t kFirst = 3584;
constexpr size_t kInline = kFirst - sizeof(Header);

class MpiControlPlane final : public SessionControlPlane<MpiSession> {
 public:
  explicit MpiControlPlane(std::shared_ptr<MpiSession> session)
      : SessionControlPlane(std::move(session)),
        incoming_(size()),
        received_(size()),
        requests_(session_->duplicate(), session_->wait()) {}

  void broadcast(Bytes& message, Deadline deadline) override {
    ++sequence_;
    if (rank() == 0) {
      check_peers();  // small messages leave without waiting for anyone
      pack_first(Operation::broadcast, message);
      for (int peer = 1; peer < size(); ++peer) {
        send_first(peer, message);
        send_tail(peer, message);
      }
      requests_.wait(deadline, "broadcast");
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

  std::vector<Bytes> exchange(Operation operation, const Bytes& message, Deadline deadline) {
    ++sequence_;
    const std::string_view what = kOperationNames[static_cast<size_t>(operation)];
    pack_first(operation, message);
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      requests_.receive_up_to(peer, incoming_[peer], &received_[peer]);
      send_first(peer, message);
    }
    requests_.wait(deadline, what);
    std::vector<Bytes> all(size());
    all[rank()] = message;
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      all[peer].resize(unpack_first(peer, operation));
      take_inline(peer, all[peer]);
      receive_tail(peer, all[peer]);
      send_tail(peer, message);
    }
    requests_.wait(deadline, what);
    return all;
  }

  void pack_first(Operation operation, const Bytes& message) {
    const Header header{operation, sequence_, message.size()};
    std::memcpy(outgoing_.data(), &header, sizeof header);
    std::ranges::copy(std::span(message).first(inline_bytes(message)),
                      outgoing_.begin() + sizeof header);
  }

  void send_first(int peer, const Bytes& message) {
    requests_.send(peer, std::span(outgoing_).first(sizeof(Header) + inline_bytes(message)));
  }

  void send_tail(int peer, const Bytes& message) {
    if (message.size() > kInline) requests_.send(peer, std::span(message).subspan(kInline));
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
    if (message.size() > kInline) requests_.receive(peer, std::span(message).subspan(kInline));
  }

  static size_t inline_bytes(const Bytes& message) { return std::min(message.size(), kInline); }

  uint32_t sequence_ = 0;
  First outgoing_{};
  std::vector<First> incoming_;   // by rank
  std::vector<size_t> received_;  // bytes of `incoming_`
  MpiRequests requests_;
};

}  // namespace

std::unique_ptr<ControlPlane> make_mpi_control_plane(std::shared_ptr<MpiSession> session) {
  return std::make_unique<MpiControlPlane>(std::move(session));
}

}  // namespace dinfer
