#include "server/descriptors.h"

#include <sys/resource.h>

#include <algorithm>

namespace dinfer {
namespace {

// Files, links among ranks, pipes of the launcher.
constexpr rlim_t kOthers = 256;

}  // namespace

size_t make_room_for_connections(size_t connections) {
  const rlim_t wanted = connections + kOthers;
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return connections;
  rlimit raised{.rlim_cur = wanted, .rlim_max = std::max(limit.rlim_max, wanted)};
  if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {  // only root may raise the hard limit
    raised = {.rlim_cur = std::min(wanted, limit.rlim_max), .rlim_max = limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) raised = limit;
  }
  return static_cast<size_t>(std::min(wanted, std::max(raised.rlim_cur, kOthers)) - kOthers);
}

}  // namespace dinfer
