#pragma once

#include <string>
#include <vector>

namespace dinfer {

// Physical cores, each as the OS index of one of its processing units, ascending.
struct HostCores {
  std::vector<int> allowed;  // this process may use them
  size_t present = 0;        // on this host, as far as its control group lets one see
};

HostCores host_cores();

// The cores of one of several ranks of a host, from what each of them may use. Ranks that may use
// the same cores share them out; fewer cores than such ranks: empty, not bound.
std::vector<int> share_of_cores(const std::vector<std::vector<int>>& allowed_by_local_rank,
                                size_t local_rank);

// Cores' worth of time that the cgroup grants this process; 0: no limit.
double cpu_quota();

}  // namespace dinfer
