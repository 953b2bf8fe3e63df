#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include "base/deadline.h"
#include "bootstrap/peer_wait.h"
#include "bootstrap/shared_memory.h"
#include "comm/members.h"
#include "comm/mpi_mail.h"

namespace dinfer {

// Messages between pairs of MPI's ranks that share memory. Each pair has two places in each
// direction: a sender puts its message there and goes on, whatever the receiver does meanwhile.
// Places get their memory when they are first used, as much as messages took of them; what the host
// has no memory for goes by MPI, as the places' labels tell. Longer messages go in pieces.
class MpiLocalMail {
 public:
  // Beyond this the address space of all places would be too large.
  static constexpr int kMostRanks = 64;

  // Bytes of a segment for so many ranks: its beginning, which is to have memory from the start,
  // and all of it.
  static size_t labels_bytes(int ranks);
  static size_t segment_bytes(int ranks);

  // From `offset` of the segment on, which is zero at first and outlives this object, like the
  // others.
  MpiLocalMail(SharedMemory& segment, size_t offset, const Members& members, PeerWait& wait,
               MpiMail& otherwise);

  // Ranks of the group. A send waits only where both places are taken.
  void send(int to, std::span<const std::byte> data, Deadline deadline);
  // Another length than was sent is an Error(peer).
  void receive(int from, std::span<std::byte> data, Deadline deadline);

 private:
  struct Lane;  // from one rank to another: what is in its places

  template <class Done>
  void wait_for(const Done& done, int peer, Deadline deadline, std::string_view what);
  Lane& lane(int from, int to) const;
  std::span<std::byte> place(int from, int to, size_t index) const;
  bool reserve(int to, size_t index, size_t bytes);

  SharedMemory& segment_;
  size_t labels_, places_;  // offsets
  const Members& members_;
  PeerWait& wait_;
  MpiMail& otherwise_;
  std::vector<size_t> reserved_;  // bytes of each own place
};

}  // namespace dinfer
