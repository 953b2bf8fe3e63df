#pragma once

#include <memory>

#include "comm/host_communicator.h"
#include "device/gpu_stream.h"

namespace dinfer {

// Device memory over `host`, the communicator of the same ranks for host memory: through two pinned
// buffers, so that one part is copied while another travels. Calls are done with their copies
// queued; a device cannot record them.
std::unique_ptr<Communicator> make_staged_communicator(GpuStream& stream,
                                                       std::unique_ptr<HostCommunicator> host);

}  // namespace dinfer
