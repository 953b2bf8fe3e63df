#pragma once

#include <string>
#include <vector>

#include "bootstrap/control_plane.h"
#include "bootstrap/world.h"
#include "device/device.h"

namespace dinfer {

// Physical cores, each as the OS index of one of its processing units, ascending.
struct HostCores {
  std::vector<int> allowed;  // this process may use them
  size_t present = 0;        // on this host, as far as its control group lets one see
  int sockets = 1;           // of this host
};

HostCores host_cores();

// The cores of one of several ranks of a host, from what each of them may use. Ranks that may use
// the same cores share them out; fewer cores than such ranks: empty, not bound.
std::vector<int> share_of_cores(const std::vector<std::vector<int>>& allowed_by_local_rank,
                                size_t local_rank);

// What each rank runs on, and what this one may use of its host.
struct HostShare {
  std::vector<std::string> hosts;  // by rank
  std::vector<DeviceKind> kinds;   // by rank
  int threads = 1;
  std::vector<int> cores;  // to bind threads to, one each; empty: the system places them
};

// Collective, with the kind of this rank's device: the cores of each host, and the time that its
// cgroup grants, shared out among its CPU ranks. `threads`: --threads, 0 where it is not given.
HostShare share_of_host(ControlPlane& control, Deadline deadline, const World& world,
                        DeviceKind kind, int threads);

}  // namespace dinfer
