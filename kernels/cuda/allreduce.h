#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_bf16.h>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/peer_group.h"

// Collectives of the GPUs of one host as kernels over each other's memory. All ranks queue the same
// calls in the same order; results have the same bits on all of them. Nothing waits for the host:
// calls may be recorded in CUDA graphs. What goes wrong among ranks is left in PeerReport.
namespace dinfer::cuda {

enum class PeerPath : uint8_t {
  one_shot,  // every rank sends all it has to every other and adds up all: fewest trips
  two_shot,  // every rank adds up one share and sends the sums: fewest bytes for many ranks
};

// The most floats that one call of peer_sum or peer_sum_norm takes.
inline size_t peer_sum_room(const PeerGroup& group) { return group.slot_bytes / sizeof(float); }

// Blocks and threads a block; 0: as measured best.
struct PeerLaunch {
  unsigned threads = 0;
  unsigned blocks = 0;
};

// values = sum over ranks of values, or, with `into`, into += that sum (values stays as it is).
// 16-byte aligned.
void peer_sum(const Stream& stream, const PeerGroup& group, PeerPath path, float* values,
              float* into, size_t count, PeerLaunch launch = {});

// into += sum over ranks of values, then out = into / sqrt(mean(into^2) + epsilon) * norm, a row at
// a time. [rows, columns], 16-byte aligned, columns a multiple of 4 up to kMostNormColumns. By one
// shot.
inline constexpr int64_t kMostNormColumns = 16384;

template <class Out>  // float or __nv_bfloat16
struct PeerSumNorm {
  const float* values = nullptr;
  float* into = nullptr;
  const float* norm = nullptr;  // weights: not written by a kernel before
  float epsilon = 0;
  Out* out = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
};

template <class Out>
void peer_sum_norm(const Stream& stream, const PeerGroup& group, const PeerSumNorm<Out>& task);

// Rank r's `bytes` at `in` land at out + r * stride on all ranks. At most kMostGatherBytes.
inline constexpr size_t kMostGatherBytes = kFlaggedBytes / 2;
void peer_gather(const Stream& stream, const PeerGroup& group, const std::byte* in, std::byte* out,
                 size_t bytes, size_t stride);

// Makes a window fresh.
void peer_clear(const Stream& stream, std::byte* window, size_t bytes);

}  // namespace dinfer::cuda
