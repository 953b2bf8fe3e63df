#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/kv_type.h"
#include "bootstrap/control_plane.h"
#include "checkpoint/model_config.h"
#include "cli/options.h"

namespace dinfer {

// What one rank needs and has, in bytes. `free` is this rank's part where ranks share a memory.
struct RankMemory {
  uint64_t free = 0;
  uint64_t weights = 0;
  uint64_t activations = 0;  // with logits
  uint64_t position = 0;     // of rotation tables, for each position of the longest sequence
  uint64_t kv_block = 0;     // one KV block, all layers
  std::string device;        // whose memory it is
  bool shared = true;        // with all programs of the host: main memory

  // Activations and the rotation tables of sequences of `tokens`.
  uint64_t working(int64_t tokens) const {
    return activations + position * static_cast<uint64_t>(tokens);
  }
};

// What the job's KV cache comes to: the same on all ranks.
struct KvPlan {
  int64_t blocks = 0;
  int64_t max_seq_len = 0;
};

// Tokens of a step: enough to keep the device busy.
inline constexpr int64_t kCpuBatchTokens = 512;
inline constexpr int64_t kGpuBatchTokens = 4096;

// The longest sequence that the user asks for, or the model allows. Error(config) where
// --max-seq-len is beyond the model's positions.
int64_t wanted_seq_len(const Options& options, const ModelConfig& config);

// What --kv-dtype asks the KV cache to hold; none: as the device has it.
std::optional<KvType> wanted_kv_type(const Options& options);

// KV blocks that every rank has room for: --kv-blocks, or enough for `seqs` sequences of full
// length, within --kv-memory-fraction of what is free beside weights and activations. Where they
// take shared memory of a rank, all sequences but one count as kShortSequence tokens. Without
// --max-seq-len, sequences become as short as the blocks demand. Error(does_not_fit) with needed
// and available bytes, and the flags that help.
inline constexpr int64_t kShortSequence = 512;  // tokens
KvPlan plan_kv(const Options& options, int64_t seqs, int64_t seq_len,
               const std::vector<RankMemory>& ranks);

// RankMemory of all ranks, by rank.
std::vector<RankMemory> gather_memory(ControlPlane& control, Deadline deadline,
                                      const RankMemory& own);

// "4.1GiB"
std::string gibibytes(double bytes);

}  // namespace dinfer
