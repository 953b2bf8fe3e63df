#pragma once

#include <cstddef>
#include <span>

namespace dinfer {

// Tensors among the ranks of one group, on the hot path. Calls are collective: every rank makes the
// same calls in the same order, from the engine's thread only. A group of one does nothing. A wait
// past the deadline the communicator was made with, or a dead peer, is an Error(peer) naming the
// ranks waited for. Buffers are device memory of the rank's device.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;

  // Element-wise sum over ranks, in place. All ranks end with the same bits.
  virtual void all_reduce_sum(std::span<float> values) = 0;

  // Rank r's `in` lands at out[r * in.size()]; out.size() == in.size() * size().
  virtual void all_gather(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  // Point to point; matched in order for a pair of ranks.
  virtual void send(int destination, std::span<const std::byte> data) = 0;
  virtual void receive(int source, std::span<std::byte> data) = 0;
};

}  // namespace dinfer
