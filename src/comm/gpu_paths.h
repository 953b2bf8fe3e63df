#pragma once

#include <cstddef>
#include <optional>

#include "kernels/cuda/allreduce.h"

namespace dinfer {

// The fastest way to sum `bytes` among so many GPUs of one host, as measured on NVLink (H200;
// benchmarks/collectives.cpp prints the table): a kernel over the memory of the peers, or, where
// there is one, NCCL (empty).
std::optional<cuda::PeerPath> best_path(int ranks, size_t bytes, bool has_nccl);

}  // namespace dinfer
