#pragma once

#include <memory>

#include "comm/host_communicator.h"
#include "device/gpu_stream.h"

namespace dinfer {

enum class StagedParts {
  short_ones,  // one part is copied while another travels: all ranks do so
  whole,       // what one call moves travels at once: where others of the group have host memory
};

// Device memory over `host`, the communicator of the same ranks for host memory: through two pinned
// buffers. Calls are done with their copies queued; a device cannot record them.
std::unique_ptr<Communicator> make_staged_communicator(GpuStream& stream,
                                                       std::unique_ptr<HostCommunicator> host,
                                                       StagedParts parts = StagedParts::short_ones);

}  // namespace dinfer
