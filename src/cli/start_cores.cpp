#include "cli/start_cores.h"

#include <hwloc.h>

#include <algorithm>
#include <fstream>
#include <memory>

#include "base/error.h"

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

}  // namespace

HostCores host_cores() {
  const auto topology = load_topology();
  std::unique_ptr<hwloc_bitmap_s, BitmapDeleter> allowed(hwloc_bitmap_alloc());
  if (hwloc_get_cpubind(topology.get(), allowed.get(), HWLOC_CPUBIND_PROCESS) != 0) {
    hwloc_bitmap_copy(allowed.get(), hwloc_topology_get_allowed_cpuset(topology.get()));
  }
  std::unique_ptr<hwloc_bitmap_s, BitmapDeleter> usable(hwloc_bitmap_alloc());
  HostCores cores;
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

double cpu_quota() {
  // cgroup v2: "max 100000" or "150000 100000", microseconds of time and period
  // (https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max).
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::strtod(quota.c_str(), nullptr) / period;
}

}  // namespace dinfer
