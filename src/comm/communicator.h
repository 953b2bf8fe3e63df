#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace dinfer {

// Tensors among the ranks of one group, on the hot path. Calls are collective: every rank makes the
// same calls in the same order, from the engine's thread only. A group of one does nothing. A wait
// past the deadline the communicator was made with, or a dead peer, is an Error(peer) naming the
// ranks waited for. Buffers are memory of the rank's device: on a GPU, calls are queued on its
// compute stream, and an error may come from a later call, or from the wait for the stream.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view transport() const = 0;  // of the layout line: none, mpi, ring, nccl, p2p, staged

  // Whether calls only queue work on the device, which may then record them with its own.
  virtual bool recordable() const { return true; }

  // Element-wise sum over ranks, in place. All ranks end with the same bits.
  virtual void all_reduce_sum(std::span<float> values) = 0;

  // Rank r's `in` lands at out[r * in.size()]; out.size() == in.size() * size().
  virtual void all_gather(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  // The same between buffers in host memory, done on return.
  virtual void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  // Point to point; matched in order for a pair of ranks.
  virtual void send(int destination, std::span<const std::byte> data) = 0;
  virtual void receive(int source, std::span<std::byte> data) = 0;

  // The same between buffers in host memory; receive_host is done on return.
  virtual void send_host(int destination, std::span<const std::byte> data) = 0;
  virtual void receive_host(int source, std::span<std::byte> data) = 0;
};

}  // namespace dinfer
