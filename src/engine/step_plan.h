#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/token_mask.h"
#include "engine/sampling_params.h"

namespace dinfer {

// Which rows of a chunk need logits.
enum class LogitRows : uint8_t { none, last, all };

// What rows report beside a sampled token. Log-probabilities are those of the model itself: before
// penalties, temperature and truncation.
struct ReportSpec {
  bool logprobs =
      false;            // of the sampled token; of the following prompt token where rows are `all`
  int32_t top = 0;      // so many most likely tokens
  bool logits = false;  // whole rows
  bool operator==(const ReportSpec&) const = default;
};

// A sequence takes a slot. Its tokens come with the work that follows.
struct Admission {
  uint32_t slot = 0;
  uint64_t sequence = 0;      // for messages and digests
  int64_t prompt_tokens = 0;  // tokens from here on are output (penalties)
  int64_t length_limit = 0;   // the most tokens that the sequence may come to
  int64_t cached = 0;         // its first tokens, whose keys and values are in its first blocks
  std::vector<int32_t> cached_ids;  // these tokens, where penalties count them
  SamplingParams sampling;
  ReportSpec report;
  bool operator==(const Admission&) const = default;
};

// What one slot does in this step.
struct SlotWork {
  uint32_t slot = 0;
  int64_t position = 0;         // of the first token
  std::vector<int32_t> tokens;  // at least one
  std::vector<int32_t> blocks;  // KV blocks appended to the slot's table
  LogitRows rows = LogitRows::none;
  bool sample = false;      // from the last row
  TokenMask allowed;        // what may be sampled; empty: any token
  int32_t next_token = -1;  // rows = all: what follows the chunk, -1 at the end
  bool operator==(const SlotWork&) const = default;

  int64_t token_count() const { return static_cast<int64_t>(tokens.size()); }
};

// What all ranks do next: only what changes. Ranks keep each slot's block table and sampling
// parameters. Tokens are named, sampled ones too, since the ranks that embed them need not be those
// that sampled them. Applied in this order: releases, admissions, work. No work and no stop: a
// heartbeat.
struct StepPlan {
  uint64_t step = 0;  // counts up by one
  std::vector<uint32_t> releases;
  std::vector<Admission> admissions;
  std::vector<SlotWork> work;
  std::optional<int32_t> stop;  // leave the loop; the process ends with this code
  bool report = false;          // all ranks tell their RankFigures, and then work
  bool operator==(const StepPlan&) const = default;

  bool heartbeat() const { return work.empty() && !stop; }
  // Heartbeats are, so that the head learns who lives.
  bool answered() const { return heartbeat() || report; }
};

// What a plan may name: bounds that a decoded one is checked against. Blocks and rows are those of
// each replica; slots are numbered through all of them, replica by replica.
struct PlanLimits {
  uint32_t slots = 0;  // of a replica
  int32_t blocks = 0;
  int32_t vocab = 0;
  int64_t rows = 0;  // tokens in a step
  uint32_t replicas = 1;

  uint32_t replica_of(uint32_t slot) const { return slot / slots; }
};

// "step 17 of 3 sequences"
std::string describe(const StepPlan& plan);

std::vector<std::byte> encode(const StepPlan& plan);

// Error(peer) naming the rule that the message breaks.
StepPlan decode_step_plan(std::span<const std::byte> message, const PlanLimits& limits);

}  // namespace dinfer
