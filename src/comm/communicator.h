#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace dinfer {

// Tensors among the ranks of one group, on the hot path. Ranks are numbered within the group;
// errors name them as the job does. Calls come from the engine's thread only; those for all ranks
// are collective: every rank makes the same ones in the same order. In a group of one they do
// nothing. A wait past the deadline the communicator was made with, or a dead rank (of the job, not
// only of the group), is an Error(peer) naming the ranks waited for. Buffers are memory of the
// rank's device: on a GPU, calls are queued on its compute stream, and an error may come from a
// later call, or from the wait for the stream.
class Communicator {
 public:
  virtual ~Communicator() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view transport()
      const = 0;  // of the layout line: none, mpi, ring, nccl, p2p, staged

  // The same for send() and receive().
  virtual std::string_view message_transport() const { return transport(); }

  // Whether calls only queue work on the device, which may then record them with its own. The same
  // on all ranks of a group.
  virtual bool recordable() const { return true; }

  // Element-wise sum over ranks, in place. All ranks end with the same bits.
  virtual void all_reduce_sum(std::span<float> values) = 0;

  // Rank r's `in` lands at out[r * in.size()]; out.size() == in.size() * size().
  virtual void all_gather(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  // The same between buffers in host memory, done on return.
  virtual void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) = 0;

  // Point to point, between any two ranks. What a rank sends to another arrives in order; sends and
  // receives of a pair match in the order of their calls and have the same length, and a call for
  // host memory matches one for host memory. After send() `data` may be written again (on a GPU, by
  // what is queued later). A send of up to kUnawaitedBytes waits for its receiver only where more
  // than one earlier message to that rank is still on its way: two ranks that send to each other
  // and then receive do not block each other. NCCL alone, which GPUs without access to each other's
  // memory take, may wait.
  static constexpr size_t kUnawaitedBytes = size_t{4} << 20;
  virtual void send(int destination, std::span<const std::byte> data) = 0;
  virtual void receive(int source, std::span<std::byte> data) = 0;

  // The same between buffers in host memory; what was received is there on return.
  virtual void send_host(int destination, std::span<const std::byte> data) = 0;
  virtual void receive_host(int source, std::span<std::byte> data) = 0;
};

}  // namespace dinfer
