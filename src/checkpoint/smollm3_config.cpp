#include "checkpoint/smollm3_config.h"

#include "base/error.h"
#include "checkpoint/config_limits.h"

namespace dinfer {

void set_smollm3(ModelConfig& config, int64_t interval) {
  config.other_rope = RopeConfig{.type = RopeType::still};
  config.other_rope_layers.resize(static_cast<size_t>(config.layers));
  for (int64_t i = 0; i < config.layers; ++i)
    config.other_rope_layers[static_cast<size_t>(i)] = (i + 1) % interval == 0;
}

void read_smollm3(const JsonFields& json, ModelConfig& config) {
  set_smollm3(config,
              json.integer("no_rope_layer_interval", 1, kMostLayers).value_or(kSmolLm3Interval));
  const auto rotated = json.integers("no_rope_layers", 0, 1);  // 1: rotated, whatever the name says
  if (!rotated.empty() && std::ssize(rotated) < config.layers) {
    fail(ExitCode::model_files, "{}: {} no_rope_layers for {} layers", json.where(), rotated.size(),
         config.layers);
  }
  for (size_t i = 0; i < config.window.size(); ++i) {
    if (!rotated.empty()) config.other_rope_layers[i] = rotated[i] == 0;
    const bool windowed = json.contains("layer_types") || config.other_rope_layers[i];
    if (!windowed) config.window[i] = 0;
  }
}

}  // namespace dinfer
