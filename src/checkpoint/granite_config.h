#pragma once

#include "checkpoint/json_fields.h"
#include "checkpoint/model_config.h"

namespace dinfer {

// The numbers that Granite 3 multiplies by where Llama does not (its "multipliers").
struct GraniteScales {
  double embedding = 1;  // embeddings
  double residual = 1;   // what attention and MLP add
  double attention = 0;  // attention scores; 0: divided by the root of head_dim
  double logits = 1;     // what logits are divided by
};

// Needs config.norm_epsilon as the file has it. The residual stream is kept divided by the residual
// scale, so that attention and MLP add to it what they give: the norms take that out again, with
// their epsilon divided by its square.
void set_granite(ModelConfig& config, const GraniteScales& scales);

// The fields of config.json that Granite alone has.
void read_granite(const JsonFields& json, ModelConfig& config);

}  // namespace dinfer
