#pragma once

#include <functional>
#include <string>

namespace dinfer {

// The program that started this process, as its environment tells.
struct Launcher {
  std::string name;        // "mpirun", "srun" or "an MPI launcher"; empty: none
  int ranks = 0;           // processes it started; 0: it does not say
  bool wires_mpi = false;  // gave the process what MPI_Init needs to find its peers
};

// The value of an environment variable; nullptr: not set.
using Environment = std::function<const char*(const char* name)>;

Launcher detect_launcher(const Environment& environment);

// Which bootstrap the environment and `--bootstrap asked` lead to: "mpi" or "single". Whatever
// would quietly run something else than was asked for is an Error(config): a launcher of several
// ranks in a binary without MPI or beside `--bootstrap local`, srun without its MPI plugin,
// variables of a bootstrap that this build lacks.
std::string choose_bootstrap(const std::string& asked, const Launcher& launcher,
                             const Environment& environment, bool has_mpi);

// Called once MPI knows its world: an Error(config) when that is smaller than what was launched.
void check_world_size(const Launcher& launcher, int mpi_ranks);

}  // namespace dinfer
