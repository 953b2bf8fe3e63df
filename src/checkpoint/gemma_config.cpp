#include "checkpoint/gemma_config.h"

#include <cmath>
#include <string>

#include "base/error.h"
#include "checkpoint/config_limits.h"

namespace dinfer {

namespace {

constexpr double kScoreDivisor = 256;  // Gemma3TextConfig's "query_pre_attn_scalar"

void refuse_what_differs(const JsonFields& json) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (json.find(key)) {
      fail(ExitCode::model_files, "{}: {} is set: soft-capping of logits is not supported",
           json.where(), key);
    }
  }
  if (json.boolean("use_bidirectional_attention").value_or(false)) {
    fail(ExitCode::model_files,
         "{}: use_bidirectional_attention is true: models that see later tokens, as those of "
         "embeddings do, are not supported",
         json.where());
  }
}

// transformers 4 has "rope_local_base_freq", 5 an object for each kind of layer.
RopeConfig read_window_rope(const JsonFields& json) {
  RopeConfig rope;
  rope.theta = json.number("rope_local_base_freq", kLeastRopeNumber, kMostRopeNumber)
                   .value_or(kGemma3WindowTheta);
  const Json* kinds = json.find("rope_parameters");
  if (!kinds) return rope;
  const JsonFields by_kind(*kinds, json.where() + ": rope_parameters");
  const Json* sliding = by_kind.find("sliding_attention");
  if (!sliding) return rope;
  const JsonFields fields(*sliding, by_kind.where() + ": sliding_attention");
  const std::string type = fields.string("rope_type").value_or("default");
  if (type != "default") {
    fail(ExitCode::model_files,
         "{}: rope_type {} is not supported in layers with a window; supported is default",
         fields.where(), printable(type));
  }
  rope.theta = fields.number("rope_theta", kLeastRopeNumber, kMostRopeNumber).value_or(rope.theta);
  return rope;
}

}  // namespace

void set_gemma(ModelConfig& config) {
  config.activation = Activation::gelu_tanh;
  config.embedding_scale = std::sqrt(static_cast<float>(config.hidden));
}

void set_gemma3(ModelConfig& config) {
  set_gemma(config);
  config.post_norms = true;
  config.qk_norm = true;
  config.other_rope = RopeConfig{.theta = kGemma3WindowTheta};
  config.other_rope_layers.clear();
  for (const int64_t window : config.window) config.other_rope_layers.push_back(window > 0);
}

std::vector<int64_t> gemma3_windows(int64_t layers, int64_t window, int64_t period) {
  std::vector<int64_t> windows(static_cast<size_t>(layers), window);
  for (int64_t i = period; i <= layers; i += period) windows[static_cast<size_t>(i - 1)] = 0;
  return windows;
}

void read_gemma3(const JsonFields& json, ModelConfig& config) {
  refuse_what_differs(json);
  set_gemma3(config);
  config.other_rope = read_window_rope(json);
  config.score_divisor = json.number("query_pre_attn_scalar", kLeastRopeNumber, kMostRopeNumber)
                             .value_or(kScoreDivisor);
}

}  // namespace dinfer
