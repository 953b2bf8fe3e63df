#include "comm/gpu_paths.h"

#include <cstdint>

namespace dinfer {
namespace {

constexpr size_t kKiB = 1024;

// The paths over peer memory serve sums up to so many bytes.
struct Limits {
  size_t one_shot;
  size_t two_shot;
};

// Two ranks send the same bytes either way, and one kernel's blocks fill the link as well as
// NCCL's.
Limits limits_of(int ranks) {
  if (ranks <= 2) return {.one_shot = SIZE_MAX, .two_shot = SIZE_MAX};
  if (ranks <= 4) return {.one_shot = 128 * kKiB, .two_shot = 4096 * kKiB};
  return {.one_shot = 64 * kKiB, .two_shot = 4096 * kKiB};
}

}  // namespace

std::optional<cuda::PeerPath> best_path(int ranks, size_t bytes, bool has_nccl) {
  const Limits limits = limits_of(ranks);
  if (bytes <= limits.one_shot) return cuda::PeerPath::one_shot;
  if (bytes <= limits.two_shot || !has_nccl) return cuda::PeerPath::two_shot;
  return std::nullopt;
}

}  // namespace dinfer
