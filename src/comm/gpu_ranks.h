#pragma once

#include <array>
#include <string>
#include <vector>

#include "base/deadline.h"
#include "bootstrap/world.h"
#include "comm/group_plane.h"
#include "device/gpu_stream.h"

namespace dinfer {

// The GPU of one rank, as all ranks know it.
struct GpuRank {
  int rank;  // in the job
  std::string host;
  std::string name;                // "NVIDIA H200"
  std::string bus;                 // PCI address, the same in all processes of a host
  std::array<std::byte, 16> uuid;  // of the GPU, or of its slice
};

// Collective. The group's, in its order. Two ranks on one GPU are an Error(device) on every rank.
std::vector<GpuRank> introduce_gpus(GroupPlane& control, const World& world,
                                    const GpuStream& stream, Deadline deadline);

// Whether they are on several hosts.
bool span_hosts(const std::vector<GpuRank>& gpus);

// Collective. The first reason that any rank gives why it cannot go on; empty: all can.
std::string first_reason(GroupPlane& control, const std::string& own, Deadline deadline);

}  // namespace dinfer
