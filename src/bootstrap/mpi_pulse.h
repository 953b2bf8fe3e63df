#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>
#include <string>

#include "bootstrap/peer_wait.h"
#include "bootstrap/pulse.h"
#include "bootstrap/world.h"

namespace dinfer {

struct MpiPulsePlan {
  std::string listen_host;  // where rank 0 is to be reached; empty: at every address it has
  std::chrono::duration<double> longest_silence;
  std::chrono::duration<double> start_timeout;
};

// Collective: signs of life over TCP for ranks that MPI brought together, a star around rank 0. MPI
// carries its addresses and the secret that it draws. A rank that cannot reach it goes without, of
// which rank 0 warns: networks that only MPI may use are no reason not to run. Null on a rank
// without any connection.
std::unique_ptr<Pulse> start_mpi_pulse(MPI_Comm all, const World& world, const PeerWait& peers,
                                       const MpiPulsePlan& plan);

}  // namespace dinfer
