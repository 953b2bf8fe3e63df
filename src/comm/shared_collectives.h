#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>

#include "bootstrap/peer_wait.h"
#include "comm/members.h"

namespace dinfer {

// Collectives of ranks that share memory: each publishes its part in the segment, waits for the
// parts of the others, and reads them. Long data goes in blocks. The segment holds each block
// twice, turn about: whoever publishes turn t has read all of turn t - 1, so turn t + 1 may be
// overwritten by it without a second wait.
class SharedCollectives {
 public:
  static size_t segment_bytes(int ranks);

  // `segment` is zero at first and, like the others, outlives this object. `meanwhile` is called
  // again and again in waits: for messages that do not move on by themselves.
  SharedCollectives(std::span<std::byte> segment, const Members& members, PeerWait& wait,
                    std::function<void()> meanwhile);

  // Element-wise sums over ranks, added in the order of the ranks.
  void all_reduce_sum(std::span<float> values, Deadline deadline);
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out, Deadline deadline);

 private:
  struct Lane;  // what one rank announces

  // Announces `bytes` of this rank in the segment and waits until every rank has announced the
  // same.
  void publish(size_t bytes, Deadline deadline, std::string_view what);
  void reduce_whole(std::span<float> block);
  void reduce_shares(std::span<float> block, Deadline deadline);
  void wait_for(std::atomic<uint64_t> Lane::*flag, Deadline deadline, std::string_view what);
  Lane& lane(int rank) const;
  std::byte* part(int rank) const;  // of this turn
  float* sums() const;              // of this turn

  std::byte* segment_;
  const Members& members_;
  int rank_;
  int ranks_;
  PeerWait& wait_;
  std::function<void()> meanwhile_;
  uint64_t turn_ = 0;
};

}  // namespace dinfer
