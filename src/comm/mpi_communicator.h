#pragma once

#include <chrono>
#include <memory>

#include "bootstrap/mpi_session.h"
#include "comm/communicator.h"

namespace dinfer {

enum class LocalPath {
  shared_memory,  // ranks that all live on one host reduce and gather in memory they share
  messages,       // all tensors travel by MPI messages, as between hosts
};

// Host memory of all ranks of the session, at least two; waits are bounded by `step_timeout`.
// Collective.
std::unique_ptr<Communicator> make_mpi_communicator(
    std::shared_ptr<MpiSession> session, std::chrono::duration<double> step_timeout,
    LocalPath local_path = LocalPath::shared_memory);

}  // namespace dinfer
