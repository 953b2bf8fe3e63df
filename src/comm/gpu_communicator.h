#pragma once

#include <chrono>
#include <memory>

#include "bootstrap/control_plane.h"
#include "bootstrap/world.h"
#include "comm/host_communicator.h"
#include "comm/members.h"
#include "device/gpu_stream.h"

namespace dinfer {

enum class GpuPaths : uint8_t { all, peers_only, nccl_only, staged_only };

struct GpuCommunicatorOptions {
  std::chrono::duration<double> start_timeout{60};
  std::chrono::duration<double> step_timeout{30};
  GpuPaths paths = GpuPaths::all;
};

// Device memory of GPU ranks, on their compute streams: kernels over the memory of the peers where
// the GPUs reach each other, and NCCL where it is faster or the only way; without either through
// host memory. `host` is the communicator of the same members for that. Collective among them;
// ranks that share a GPU are an Error(device) on all of them, as are those without the only way
// that is wanted. `stream` and `control` outlive it.
std::unique_ptr<Communicator> make_gpu_communicator(ControlPlane& control, const World& world,
                                                    GpuStream& stream, const Members& members,
                                                    std::unique_ptr<HostCommunicator> host,
                                                    const GpuCommunicatorOptions& options);

}  // namespace dinfer
