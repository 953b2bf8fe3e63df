#pragma once

#include <poll.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "bootstrap/peer_wait.h"
#include "net/socket.h"

namespace dinfer {

enum class RingOperation : uint16_t { sum = 1, sum_in_shares, gather, out_of_step };

// Precedes the bytes of every hop.
struct RingHeader {
  RingOperation operation;
  uint16_t hop;       // of the operation, from 0
  uint32_t sequence;  // of the operations on this connection and direction
  uint64_t bytes;     // of the operation: all ranks must mean the same
};

// A part of the values that comes from the left neighbour.
struct RingHop {
  std::span<std::byte> into;
  bool add = false;  // as floats to what is there
  int origin = 0;    // the rank it has to come from in the end
};

// One connection, both directions.
struct RingLink {
  Socket socket;
  uint32_t sent = 0, received = 0;  // operations
};

// The bytes of one operation on their way: this rank sends `own` to the right, then passes on what
// arrives from the left, hop after hop, as soon as it has arrived (and was added); the last hop
// ends here. Nothing blocks.
class RingStream {
 public:
  // `scratch` holds what has arrived and was not added yet. At least one hop.
  RingStream(RingOperation operation, uint64_t bytes, std::span<const std::byte> own,
             std::span<const RingHop> hops, RingLink& right, RingLink& left,
             std::vector<std::byte>& scratch);

  // Moves what can be moved now. True once all is done. False for good once the ranks are found
  // out of step: `stranger()` is then what came.
  bool advance();
  const RingHeader* stranger() const { return strange_ ? &header_in_ : nullptr; }

  // The rank whose part is awaited: of those ahead of it all has come.
  int awaited(int right_rank) const;
  std::span<const pollfd> wake() const { return wake_; }

  // Tells the right neighbour, where that is possible, that `rank` is out of step.
  void warn_right(int rank);

 private:
  bool sending() const { return out_ < segments_; }
  bool receiving() const { return in_ < hops_.size(); }
  RingHeader header(size_t hop) const;
  std::span<const std::byte> segment(size_t index) const;
  size_t available(size_t index) const;
  bool send_some();
  bool receive_some();
  bool receive_header();
  bool receive_added(const RingHop& hop);
  void next_hop_if_whole();

  const RingOperation operation_;
  const uint64_t bytes_;
  const std::span<const std::byte> own_;
  const std::span<const RingHop> hops_;
  RingLink& right_;
  RingLink& left_;
  std::vector<std::byte>& scratch_;
  const size_t segments_;  // to send: own, then all hops but the last

  size_t out_ = 0;         // segment
  size_t out_offset_ = 0;  // of its header and bytes
  size_t in_ = 0;          // hop
  size_t in_header_ = 0;   // bytes of its header that are there
  size_t in_offset_ = 0;   // its bytes that are in place
  size_t carry_ = 0;       // bytes in scratch that are no whole float yet
  RingHeader header_in_{};
  bool strange_ = false;
  bool left_ended_ = false;
  std::array<pollfd, 2> wake_{};
};

}  // namespace dinfer
