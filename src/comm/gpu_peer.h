#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "comm/gpu_ranks.h"
#include "kernels/cuda/allreduce.h"

namespace dinfer {

// The windows of all ranks of a group on one host, mapped into each of them, for the kernels of
// kernels/cuda/allreduce.h.
class PeerMemory {
 public:
  // Collective. Empty where the GPUs cannot reach each other; `reason` then says why.
  static std::unique_ptr<PeerMemory> open(GroupPlane& control, const std::vector<GpuRank>& gpus,
                                          GpuStream& stream,
                                          std::chrono::duration<double> step_timeout,
                                          Deadline deadline, std::string& reason);
  PeerMemory(const PeerMemory&) = delete;
  PeerMemory& operator=(const PeerMemory&) = delete;
  ~PeerMemory();

  // What the kernels take.
  const cuda::Stream& kernels() const { return kernels_; }
  const cuda::PeerGroup& group() const { return group_; }

  // What a kernel of this rank has met.
  cuda::PeerFault fault() const;
  const cuda::PeerReport& report() const { return *report_; }

  // Kernels that wait for a peer give up within milliseconds.
  void stop();

 private:
  explicit PeerMemory(GpuStream& stream)
      : stream_(stream), kernels_(cuda::Stream::on(stream.get())) {}
  void allocate(int rank, int ranks, std::chrono::duration<double> step_timeout);
  void map(std::span<const Bytes> handles);
  void try_out();

  GpuStream& stream_;
  cuda::Stream kernels_;
  cuda::PeerGroup group_;
  cuda::PeerReport* report_ = nullptr;  // pinned
};

}  // namespace dinfer
