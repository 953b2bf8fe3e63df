#pragma once

#include <string>
#include <vector>

namespace dinfer {

// Physical cores that this process may use: for each the OS index of one of its processing units,
// ascending.
std::vector<int> allowed_cores();

// The cores of one of several ranks of a host, from what each of them may use. Ranks that may use
// the same cores share them out; fewer cores than such ranks: empty, not bound.
std::vector<int> share_of_cores(const std::vector<std::vector<int>>& allowed_by_local_rank,
                                size_t local_rank);

// Cores' worth of time that the cgroup grants this process; 0: no limit.
double cpu_quota();

}  // namespace dinfer
