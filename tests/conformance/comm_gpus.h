#pragma once

#include <memory>
#include <vector>

#include "bootstrap/control_plane.h"
#include "bootstrap/mpi_session.h"
#include "comm/gpu_communicator.h"
#include "device/gpu_stream.h"

namespace dinfer::test {

// This process as a GPU rank under mpirun; made by main().
struct GpuProcess {
  std::shared_ptr<MpiSession> session;
  std::unique_ptr<ControlPlane> control;
  std::unique_ptr<GpuStream> stream;
};

GpuProcess& process();

// Collective.
std::unique_ptr<Communicator> make_group(GpuStream& stream, std::chrono::duration<double> timeout,
                                         GpuPaths paths, const std::vector<int>& members);

}  // namespace dinfer::test
