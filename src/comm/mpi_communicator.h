#pragma once

#include <chrono>
#include <memory>

#include "bootstrap/mpi_session.h"
#include "comm/host_communicator.h"
#include "comm/members.h"

namespace dinfer {

enum class LocalPath {
  shared_memory,  // members that all live on one host reduce and gather in memory they share
  messages,       // all tensors travel by MPI messages, as between hosts
};

// Host memory of the members, at least two; waits are bounded by `step_timeout`. Collective: all
// ranks of the session call it, each with its own group.
std::unique_ptr<HostCommunicator> make_mpi_communicator(
    std::shared_ptr<MpiSession> session, Members members,
    std::chrono::duration<double> step_timeout, LocalPath local_path = LocalPath::shared_memory);

}  // namespace dinfer
