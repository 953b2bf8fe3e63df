#pragma once

#include <mpi.h>

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/error.h"
#include "bootstrap/mpi_pulse.h"
#include "bootstrap/peer_wait.h"
#include "bootstrap/shared_memory.h"
#include "bootstrap/world.h"

namespace dinfer {

// "Open MPI v4.1.4". Works before MPI_Init.
std::string mpi_library_version();

// Throws Error(device) naming the call when an MPI function reports an error.
void check_mpi(int result, const char* call);

// MPI from MPI_Init_thread to MPI_Finalize. MPI is asked for MPI_THREAD_SERIALIZED: all calls come
// from one thread at a time, by rule the engine's. Made and finished by all ranks together; nothing
// here waits without a bound: past it the process ends with exit code 7.
class MpiSession {
 public:
  static std::shared_ptr<MpiSession> start(std::chrono::duration<double> start_timeout);
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;

  const World& world() const { return world_; }
  PeerWait& wait() { return *wait_; }

  // Collective: signs of life among ranks that cannot all watch each other's processes, such as
  // those of several hosts. Elsewhere there is no need for them, and no connection is made.
  void start_pulse(const MpiPulsePlan& plan);

  // Collective: a communicator of all ranks of its own, errors returned. It lives until finish().
  MPI_Comm duplicate();

  // Collective, each rank with its own group, ascending. Memory that the members share, as
  // SharedMemory::create has it; empty where they live on several hosts, or their host has no room
  // for it.
  std::optional<SharedMemory> share(size_t bytes, size_t at_once, std::span<const int> members);

  // Collective: MPI_Finalize. Ranks that leave without it are seen by mpirun as failed.
  void finish();

  // Ends all ranks with `code`.
  [[noreturn]] void abort(ExitCode code);

 private:
  explicit MpiSession(std::chrono::duration<double> start_timeout);
  void learn_world();
  void learn_peers();
  std::optional<SharedMemory> share_among(MPI_Comm ranks, size_t bytes, size_t at_once);

  std::chrono::duration<double> start_timeout_;
  World world_;
  MPI_Comm all_ = MPI_COMM_NULL;
  MPI_Comm host_ = MPI_COMM_NULL;
  std::unique_ptr<Pulse> pulse_;  // or null
  std::unique_ptr<PeerWait> wait_;
  std::optional<SharedMemory> ledger_;  // of the host's ranks
};

}  // namespace dinfer
