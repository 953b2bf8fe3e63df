#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

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

// What GPU ranks started by this command would find here.
struct VisibleGpus {
  int count = 0;
  bool nccl = false;
  std::vector<uint64_t> memory = {};  // bytes of each, in use or not
};

// The devices that a manual mapping of layers names, one rank each.
struct MappedDevices {
  int ranks = 1;
  int highest_gpu = -1;  // ordinal; -1: the CPU alone
  std::string source;    // "-n" or the file's name
};

// What the command line, the build and the machine say about the bootstrap.
struct BootstrapWishes {
  std::string asked = "auto";  // --bootstrap
  std::string mode = "auto";   // --mode
  int tp = 0, pp = 0, dp = 0;  // --tp, --pp, --dp; 0: not given
  // Asked where there is no launcher; none: no manual mapping.
  std::function<std::optional<MappedDevices>()> mapped = [] { return std::nullopt; };
  bool has_mpi = false;  // the build
  // Asked only where it matters, since it takes time; none in a build or a run without GPUs.
  std::function<VisibleGpus()> gpus = [] { return VisibleGpus{}; };
  // Whether the model is too large for these GPUs. Asked where layers may be shared out.
  std::function<bool(const VisibleGpus&)> too_large = [](const VisibleGpus&) { return false; };
};

// How the ranks that one command stands for are to share the model, as long as no option says
// otherwise.
enum class Sharing : uint8_t {
  tensors,          // each has a part of every layer
  layers,           // each has some of the layers: GPUs without NCCL
  layers_with_cpu,  // the last rank is the host's CPU, for what the GPUs have no room for
};

struct BootstrapChoice {
  std::string name;    // single, local, mpi, multinode or ring
  std::string reason;  // for the layout line, e.g. "started by mpirun"
  int ranks = 1;       // that this command stands for, where MISTRALRS_MN_* say nothing else
  Sharing sharing = Sharing::tensors;
};

// The one place that decides how ranks find each other. In this order: a launcher of several ranks
// means MPI; MISTRALRS_MN_* multinode; RING_CONFIG ring; without any of these ranks of this
// machine: one for each device of a manual mapping, --tp x --pp x --dp of them, or one for each
// visible GPU and, where these share layers and the model is too large for them, one for the CPU;
// else one rank. Whatever would quietly run something else than was asked for is an
// Error(config) that names both sides: two of these at once, a launcher of several ranks in a
// binary without MPI or beside another --bootstrap, srun without its MPI plugin, NCCL forbidden
// where it is needed or not forbidden where the ring is to take its place.
BootstrapChoice choose_bootstrap(const BootstrapWishes& wishes, const Launcher& launcher,
                                 const Environment& environment);

// MISTRALRS_NO_NCCL: no NCCL in this run.
bool is_nccl_forbidden(const Environment& environment);

// Called once MPI knows its world: an Error(config) when that is smaller than what was launched.
void check_world_size(const Launcher& launcher, int mpi_ranks);

}  // namespace dinfer
