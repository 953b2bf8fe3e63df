#pragma once

#include <chrono>

#include "base/deadline.h"
#include "comm/communicator.h"

namespace dinfer {

// A communicator for host memory: what all of these have in common.
class HostCommunicator : public Communicator {
 public:
  explicit HostCommunicator(std::chrono::duration<double> timeout) : timeout_(timeout) {}

  // Of the waits from now on.
  void set_timeout(std::chrono::duration<double> timeout) { timeout_ = timeout; }

  bool recordable() const final { return false; }
  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) final {
    all_gather(in, out);
  }
  void send_host(int destination, std::span<const std::byte> data) final {
    send(destination, data);
  }
  void receive_host(int source, std::span<std::byte> data) final { receive(source, data); }

 protected:
  Deadline deadline() const { return Deadline::after(timeout_); }

 private:
  std::chrono::duration<double> timeout_;
};

}  // namespace dinfer
