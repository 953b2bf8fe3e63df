#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace dinfer {

// Gemma 3's, where a file does not say otherwise.
inline constexpr int64_t kGemma3Period = 6;
inline constexpr double kGemma3WindowTheta = 10000.0;  // of rope in layers with a window

// What all Gemmas (https://arxiv.org/abs/2403.08295) share, and what Gemma 3
// (https://arxiv.org/abs/2503.19786) has beyond that, whatever file the rest comes from. The norms'
// offset is the file's affair. Need config.hidden; set_gemma3 needs config.window, too.
void set_gemma(ModelConfig& config);
void set_gemma3(ModelConfig& config);

// The last of every `period` layers sees all positions, the others the last `window`.
std::vector<int64_t> gemma3_windows(int64_t layers, int64_t window, int64_t period);

// The fields of config.json that Gemma 3 alone has. Needs what set_gemma3 does.
void read_gemma3(const JsonFields& json, ModelConfig& config);

}  // namespace dinfer
