#pragma once

#include <cstdint>
#include <span>

#include "cli/options.h"

namespace dinfer {

// Whether no split of the model's layers, with a KV cache for one sequence, fits into GPUs of so
// many bytes each, so that the CPU is to help. In doubt it says so: what then fits all the same
// stays off the CPU.
bool is_too_large(const Options& options, std::span<const uint64_t> gpus);

}  // namespace dinfer
