#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace dinfer {

// What a rank has done in the engine's loop so far, by the host's clock: where work is only queued
// on a device, the wait for its results counts, and that is where the next host needs them.
struct RankFigures {
  int64_t pid = 0;
  uint64_t steps = 0;
  double step_s = 0;          // in steps, collectives included
  double collective_s = 0;    // of that, in collectives and messages
  double plan_wait_s = 0;     // between steps, for the head's next plan
  uint64_t moved_bytes = 0;   // hidden states in sums, sent and received
  uint64_t memory_bytes = 0;  // of the process, now
  bool operator==(const RankFigures&) const = default;

  double compute_s() const { return step_s - collective_s; }
};

std::vector<std::byte> encode(const RankFigures& figures);

// Error(peer) where the message is none.
RankFigures decode_rank_figures(std::span<const std::byte> message);

// Resident memory of this process in bytes; 0 where the system does not tell.
uint64_t process_memory();

}  // namespace dinfer
