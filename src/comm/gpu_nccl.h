#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <cuda_runtime.h>

#include "base/deadline.h"
#include "comm/group_plane.h"

namespace dinfer {

// NCCL's communicator of a group. Calls queue on the stream given. NCCL is opened at run time
// (libnccl.so.2), so that one binary runs with and without it.
class NcclGroup {
 public:
  // Collective. Empty where NCCL cannot be had; `reason` then says why. Bounded by the deadline; a
  // rank that dies meanwhile is an Error(peer). One that spans hosts lasts until the process ends,
  // also after its destruction: NCCL takes ten seconds to close its sockets, and a process that
  // ends meanwhile crashes.
  static std::unique_ptr<NcclGroup> connect(GroupPlane& control, bool spans_hosts,
                                            std::chrono::duration<double> step_timeout,
                                            Deadline deadline, std::string& reason);
  virtual ~NcclGroup() = default;  // bounded

  virtual void sum(float* values, size_t count, cudaStream_t stream) = 0;
  virtual void gather(const std::byte* in, std::byte* out, size_t bytes, cudaStream_t stream) = 0;
  virtual void send(int peer, const std::byte* data, size_t bytes, cudaStream_t stream) = 0;
  virtual void receive(int peer, std::byte* data, size_t bytes, cudaStream_t stream) = 0;

  // Throws the Error(device) that NCCL has met since.
  virtual void check_errors() = 0;

  // Ends the kernels that wait for a peer; after it the group is only destroyed.
  virtual void abort() = 0;
};

}  // namespace dinfer
