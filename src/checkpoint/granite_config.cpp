#include "checkpoint/granite_config.h"

#include "checkpoint/config_limits.h"

namespace dinfer {

void set_granite(ModelConfig& config, const GraniteScales& scales) {
  config.embedding_scale = static_cast<float>(scales.embedding / scales.residual);
  config.norm_epsilon /= scales.residual * scales.residual;
  config.logit_scale = static_cast<float>(1 / scales.logits);
  if (scales.attention > 0) config.score_divisor = 1 / (scales.attention * scales.attention);
}

void read_granite(const JsonFields& json, ModelConfig& config) {
  const auto scale = [&](const char* key) {
    return json.number(key, kLeastScale, kMostScale).value_or(1);
  };
  set_granite(config, {.embedding = scale("embedding_multiplier"),
                       .residual = scale("residual_multiplier"),
                       .attention = scale("attention_multiplier"),
                       .logits = scale("logits_scaling")});
}

}  // namespace dinfer
