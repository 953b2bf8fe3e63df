#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/deadline.h"
#include "base/json.h"
#include "bootstrap/control_plane.h"
#include "bootstrap/launcher.h"
#include "bootstrap/security.h"
#include "bootstrap/world.h"
#include "comm/communicator.h"
#include "comm/members.h"
#include "device/cpu_device.h"

namespace dinfer {

struct BootstrapOptions {
  std::string bootstrap = "auto";  // auto, mpi, multinode, ring, local
  std::string mode = "auto";       // auto, tensor, layers
  // Ranks that a command without a launcher stands for: tp * pp * dp, those of a mapping of layers
  // to devices, or, where nothing is said (0), one a visible GPU.
  int tp = 0, pp = 0, dp = 0;
  std::function<std::optional<MappedDevices>()> mapped = [] { return std::nullopt; };
  // Whether the model is too large for so many bytes by GPU.
  std::function<bool(std::span<const uint64_t>)> too_large = [](auto) { return false; };
  bool cpu = false;  // no GPUs
  SecurityWishes security{};
  bool ring_any_size = false;
  bool no_p2p = false;  // tensors of GPU ranks travel through host memory
  std::chrono::duration<double> start_timeout{60};
  std::chrono::duration<double> step_timeout{30};
  std::chrono::duration<double> stall_timeout{5};
};

// A rank among its peers. Main thread discipline: make_bootstrap, the control plane, the
// communicators and finish() belong to one thread, the engine's.
struct Bootstrap {
  World world;
  // Set in a process that supervised the ranks of its command, which have ended: nothing else is.
  std::optional<int> exit_code;
  std::string name;    // `bootstrap=` of the layout line: single, local, mpi, multinode, ring
  std::string reason;  // why this bootstrap
  Sharing sharing = Sharing::tensors;
  // Whether signals meant for the job reach the head, too: then this rank leaves them to it.
  bool head_takes_signals = true;
  std::unique_ptr<ControlPlane> control;
  // Collective: all ranks call it at once, each with its own group's ranks, ascending, itself among
  // them (all_ranks(world.size): one group). For memory of the members' devices, which outlive it;
  // where GPU ranks and CPU ranks are members, tensors travel through host memory. Waits are
  // bounded by the step timeout.
  std::function<std::unique_ptr<Communicator>(Device&, std::span<const int> members)>
      make_communicator;
  // The same for host memory alone.
  std::function<std::unique_ptr<Communicator>(std::span<const int> members)> make_host_communicator;
  // Collective of all ranks, each with its device. Two with one GPU are an Error(device) on every
  // rank, unless CPU ranks are among them; make_communicator sees that of its members alone.
  std::function<void(Device&)> check_devices;
  // Collective, the last call of a clean end: all ranks leave together. After an error call
  // control->abort instead.
  std::function<void(Deadline)> finish;
};

// Learns the world. Whatever launcher, option and build do not go together is an Error(config).
Bootstrap make_bootstrap(const BootstrapOptions& options);

// What make_device makes.
DeviceKind device_kind(bool cpu_only);

// The device of this rank: the visible GPU of its ordinal, or the only one visible to it; the CPU
// where there is none or `cpu_only` is set. Fewer GPUs than ranks on the host: Error(device).
std::unique_ptr<Device> make_device(const World& world, bool cpu_only, const CpuOptions& cpu);

// What this binary was built with, and what it finds at run time, for `--version --json`:
//   {"mpi": "Open MPI v4.1.4" or null,
//    "cuda": {"toolkit","driver","gpus":[names],"note"} or null, "nccl": {"built","found"} or null}
OrderedJson describe_build();

}  // namespace dinfer
