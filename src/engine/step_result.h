#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/sampler.h"

namespace dinfer {

// Logits rows of one work item of a plan.
struct WorkResult {
  int32_t token = -1;           // sampled from the last row, or -1
  std::vector<RowResult> rows;  // those that were asked for, in order of position
  bool operator==(const WorkResult&) const = default;
};

// What a step gave, by work item.
struct StepResult {
  uint64_t digest = 0;  // of what the rank that gave it had done by then
  std::vector<WorkResult> work;
  bool operator==(const StepResult&) const = default;
};

// For the head, from a rank that owns the model's.
std::vector<std::byte> encode(const StepResult& result);

// Error(peer) where the message is not a result.
StepResult decode_step_result(std::span<const std::byte> message);

}  // namespace dinfer
