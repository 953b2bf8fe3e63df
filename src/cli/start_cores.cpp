#include "cli/start_cores.h"

#include <hwloc.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "engine/bytes.h"

namespace dinfer {

namespace {

struct TopologyDeleter {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
struct BitmapDeleter {
  void operator()(hwloc_bitmap_s* bitmap) const { hwloc_bitmap_free(bitmap); }
};

std::unique_ptr<hwloc_topology, TopologyDeleter> load_topology() {
  hwloc_topology_t topology = nullptr;
  if (hwloc_topology_init(&topology) != 0) fail(ExitCode::device, "hwloc cannot be initialised");
  std::unique_ptr<hwloc_topology, TopologyDeleter> owned(topology);
  if (hwloc_topology_load(topology) != 0)
    fail(ExitCode::device, "hwloc cannot read this machine's topology");
  return owned;
}

// Cores' worth of time that the cgroup grants this process; 0: no limit.
double cpu_quota() {
  // cgroup v2: "max 100000" or "150000 100000", microseconds of time and period
  // (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max).
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace

HostCores host_cores() {
  const auto topology = load_topology();
  std::unique_ptr<hwloc_bitmap_s, BitmapDeleter> allowed(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(topology.get(), allowed.get(), HWLOC_CPUBIND_PROCESS) != 0) {
    hwloc_bitmap_copy(allowed.get(), hwloc_topology_get_allowed_cpuset(topology.get()));
  }
  std::unique_ptr<hwloc_bitmap_s, BitmapDeleter> usable(hwloc_bitmap_alloc());
  HostCores cores{.sockets =
                      std::max(1, hwloc_get_nbobjs_by_type(topology.get(), HWLOC_OBJ_PACKAGE))};
  for (hwloc_obj_t core = nullptr;
       (core = hwloc_get_next_obj_by_type(topology.get(), HWLOC_OBJ_CORE, core)) != nullptr;) {
    ++cores.present;
    hwloc_bitmap_and(usable.get(), core->cpuset, allowed.get());
    if (!hwloc_bitmap_iszero(usable.get()))
      cores.allowed.push_back(hwloc_bitmap_first(usable.get()));
  }
  std::sort(cores.allowed.begin(), cores.allowed.end());
  return cores;
}

std::vector<int> share_of_cores(const std::vector<std::vector<int>>& allowed_by_local_rank,
                                size_t local_rank) {
  const std::vector<int>& own = allowed_by_local_rank.at(local_rank);
  size_t sharers = 0, index = 0;
  for (size_t rank = 0; rank < allowed_by_local_rank.size(); ++rank) {
    if (allowed_by_local_rank[rank] != own) continue;
    if (rank < local_rank) ++index;
    ++sharers;
  }
  if (own.size() < sharers) return {};
  const auto at = [&](size_t i) {
    return own.begin() + static_cast<std::ptrdiff_t>(i * own.size() / sharers);
  };
  return {at(index), at(index + 1)};
}

HostShare share_of_host(ControlPlane& control, Deadline deadline, const World& world,
                        DeviceKind kind, int threads) {
  const HostCores own = host_cores();
  ByteWriter out;
  out.put_text(world.host);
  out.put(static_cast<int32_t>(world.local_rank));
  out.put(static_cast<uint8_t>(kind));
  out.put_list<int>(kind == DeviceKind::cpu ? own.allowed : std::vector<int>());
  HostShare share;
  std::vector<std::vector<int>> allowed(static_cast<size_t>(world.local_size));
  int sharers = 0;  // CPU ranks of this host
  for (const Bytes& message : control.all_gather(out.take(), deadline)) {
    ByteReader in(message, "cores of a rank");
    share.hosts.push_back(in.get_text());
    const auto local_rank = static_cast<size_t>(in.get<int32_t>());
    share.kinds.push_back(static_cast<DeviceKind>(in.get<uint8_t>()));
    if (share.hosts.back() != world.host || local_rank >= allowed.size()) continue;
    allowed[local_rank] = in.get_list<int>();
    sharers += share.kinds.back() == DeviceKind::cpu ? 1 : 0;
  }

  std::set<int> used;
  for (const std::vector<int>& cores : allowed) used.insert(cores.begin(), cores.end());
  if (world.rank == 0 && kind == DeviceKind::cpu && used.size() < own.present) {
    log::info(
        "the ranks of host {} may use {} of its {} cores; with mpirun, --bind-to none gives them "
        "all",
        world.host, used.size(), own.present);
  }

  share.cores = share_of_cores(allowed, static_cast<size_t>(world.local_rank));
  auto count = std::max<size_t>(1, share.cores.size());
  if (const double quota = cpu_quota() / std::max(sharers, 1); quota > 0)
    count = std::min(count, static_cast<size_t>(std::max(1.0, std::floor(quota + 0.5))));
  if (threads > 0) count = static_cast<size_t>(threads);
  // Threads are bound one to a core. Where the user wishes for more of them than cores, or leaves
  // cores to other programs, the system places them.
  const bool leaves_cores = count < share.cores.size() && sharers == 1;
  share.cores.resize(count > share.cores.size() || leaves_cores ? 0 : count);
  share.threads = static_cast<int>(count);
  return share;
}

}  // namespace dinfer
