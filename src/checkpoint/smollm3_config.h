#pragma once

#include <cstdint>

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace dinfer {

// SmolLM3's, where a file does not say otherwise.
inline constexpr int64_t kSmolLm3Interval = 4;

// The last of every `interval` layers does not rotate queries and keys
// (https://arxiv.org/abs/2501.18795).
void set_smollm3(ModelConfig& config, int64_t interval);

// The fields of config.json that SmolLM3 alone has. Needs config.window.
void read_smollm3(const JsonFields& json, ModelConfig& config);

}  // namespace dinfer
