#pragma once

#include <cstdint>
#include <string>

#include "checkpoint/model_config.h"

namespace dinfer {

// The largest sizes that are believed: above every published model, and small enough that products
// of a few of them stay within 63 bits.
inline constexpr int64_t kMostHidden = 1 << 20;
inline constexpr int64_t kMostLayers = 4096;
inline constexpr int64_t kMostHeads = 1 << 14;
inline constexpr int64_t kMostHeadDim = 1 << 12;
inline constexpr int64_t kMostFfn = 1 << 22;
inline constexpr int64_t kMostExperts = 1 << 12;
inline constexpr int64_t kMostVocab = 1 << 24;
inline constexpr int64_t kMostPosition = int64_t{1} << 31;
inline constexpr double kMostRopeNumber = 1e12;  // theta, factors, divisors
inline constexpr double kLeastRopeNumber = 1e-6;
inline constexpr double kLeastScale = 1e-6, kMostScale = 1e6;  // of activations

// What must hold between the numbers of a config, whatever file it came from; `where` begins the
// Error(model_files).
void check_config(const ModelConfig& config, const std::string& where);

}  // namespace dinfer
