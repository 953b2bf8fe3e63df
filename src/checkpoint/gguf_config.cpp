#include "checkpoint/gguf_config.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/gemma_config.h"
#include "checkpoint/gguf.h"
#include "checkpoint/gguf_checkpoint.h"
#include "checkpoint/granite_config.h"
#include "checkpoint/printable.h"
#include "checkpoint/smollm3_config.h"

namespace dinfer {

namespace {

constexpr std::string_view kArchitectures[] = {"llama",  "qwen2",    "qwen3",   "phi3",   "gemma",
                                               "gemma3", "qwen3moe", "granite", "smollm3"};

// Those whose queries and keys are stored for rotation of (2i, 2i+1) pairs.
constexpr std::string_view kInterleaved[] = {"llama", "granite", "smollm3"};

// Those of them that may have mixtures of experts ("llama": Mixtral).
constexpr std::string_view kExpertArchitectures[] = {"llama", "qwen3moe"};

// How experts' scores become weights ("expert_gating_func"): numbers of llama.cpp.
constexpr int64_t kSoftmaxGating = 1;

// Metadata under the prefix of the model's architecture, with ranges checked.
class ArchitectureKeys {
 public:
  explicit ArchitectureKeys(const GgufMetadata& metadata)
      : metadata_(metadata), prefix_(metadata.get_string("general.architecture") + ".") {}

  std::string name(std::string_view key) const { return prefix_ + std::string(key); }

  std::optional<int64_t> integer(std::string_view key, int64_t least, int64_t most) const {
    const auto value = metadata_.find_int(name(key));
    if (value) check_range(key, *value, least, most);
    return value;
  }

  int64_t required_integer(std::string_view key, int64_t least, int64_t most) const {
    const int64_t value = metadata_.get_int(name(key));
    check_range(key, value, least, most);
    return value;
  }

  // A number, or an array of one number a layer that are all equal. nullopt: absent.
  std::optional<int64_t> uniform_integer(std::string_view key, int64_t least, int64_t most) const {
    if (!is_array(key)) return integer(key, least, most);
    const auto& list = metadata_.get_ints(name(key));
    if (list.empty() || std::ranges::count(list, list.front()) != std::ssize(list)) {
      fail(ExitCode::model_files, "{}: {} differs from layer to layer, which is not supported",
           metadata_.path().string(), printable(name(key)));
    }
    check_range(key, list.front(), least, most);
    return list.front();
  }

  int64_t required_uniform_integer(std::string_view key, int64_t least, int64_t most) const {
    const auto value = uniform_integer(key, least, most);
    return value ? *value : metadata_.get_int(name(key));  // which says that it is missing
  }

  std::optional<double> number(std::string_view key, double least, double most) const {
    const auto value = metadata_.find_float(name(key));
    if (value) check_range(key, *value, least, most);
    return value;
  }

  bool is_array(std::string_view key) const { return metadata_.is_array(name(key)); }

 private:
  template <class T>
  void check_range(std::string_view key, T value, T least, T most) const {
    if (value >= least && value <= most) return;
    fail(ExitCode::model_files, "{}: {} is {}; {} to {} is allowed", metadata_.path().string(),
         printable(name(key)), value, least, most);
  }

  const GgufMetadata& metadata_;
  std::string prefix_;
};

void check_architecture(const GgufMetadata& metadata) {
  const std::string& name = metadata.get_string("general.architecture");
  if (std::ranges::find(kArchitectures, name) == std::end(kArchitectures)) {
    fail(ExitCode::model_files, "{}: architecture {} is not supported; supported are {}",
         metadata.path().string(), printable(name), fmt::join(kArchitectures, ", "));
  }
  if (metadata.find_int(name + ".expert_count").value_or(0) > 0 &&
      std::ranges::find(kExpertArchitectures, name) == std::end(kExpertArchitectures)) {
    fail(ExitCode::model_files,
         "{}: architecture {} with a mixture of experts is not supported; supported with one are "
         "{}",
         metadata.path().string(), printable(name), fmt::join(kExpertArchitectures, ", "));
  }
}

// Ways of mixing that the forward pass does not have.
void refuse_other_mixtures(const ArchitectureKeys& keys, const std::string& where) {
  const auto refuse = [&](std::string_view key, auto value) {
    fail(ExitCode::model_files,
         "{}: {} is {}, which is not supported; supported are mixtures as in Mixtral and Qwen3-MoE",
         where, printable(keys.name(key)), value);
  };
  for (const char* key : {"expert_shared_count", "expert_shared_feed_forward_length"})
    if (const auto shared = keys.integer(key, 0, kMostFfn); shared.value_or(0) > 0)
      refuse(key, *shared);
  const auto gating = keys.integer("expert_gating_func", 0, INT32_MAX);
  if (gating.value_or(0) != 0 && *gating != kSoftmaxGating) refuse("expert_gating_func", *gating);
  const auto scale = keys.number("expert_weights_scale", 0, kMostRopeNumber);
  if (scale.value_or(0) != 0 && *scale != 1) refuse("expert_weights_scale", *scale);
}

// After the sizes. Layers with a dense MLP among those with experts are told by their tensors.
void read_experts(const GgufMetadata& metadata, const ArchitectureKeys& keys,
                  const Checkpoint& checkpoint, ModelConfig& config) {
  ExpertConfig& experts = config.experts;
  experts.count = keys.integer("expert_count", 0, kMostExperts).value_or(0);
  if (experts.count == 0) return;
  refuse_other_mixtures(keys, metadata.path().string());
  experts.chosen = keys.required_integer("expert_used_count", 0, kMostExperts);
  experts.ffn = keys.integer("expert_feed_forward_length", 1, kMostFfn).value_or(config.ffn);
  experts.normalized = metadata.find_bool(keys.name("expert_weights_norm")).value_or(true);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const std::string dense = fmt::format("model.layers.{}.mlp.down_proj.weight", layer);
    experts.layers.push_back(checkpoint.find(dense) == nullptr);
  }
}

void read_sizes(const ArchitectureKeys& keys, const Checkpoint& checkpoint,
                const GgufMetadata& metadata, ModelConfig& config) {
  config.hidden = keys.required_integer("embedding_length", 1, kMostHidden);
  config.layers = keys.required_integer("block_count", 1, kMostLayers);
  config.heads = keys.required_uniform_integer("attention.head_count", 1, kMostHeads);
  config.kv_heads =
      keys.uniform_integer("attention.head_count_kv", 1, kMostHeads).value_or(config.heads);
  config.ffn = keys.required_uniform_integer("feed_forward_length", 1, kMostFfn);
  config.max_position = keys.required_integer("context_length", 1, kMostPosition);
  config.norm_epsilon =
      keys.number("attention.layer_norm_rms_epsilon", 1e-30, 1).value_or(config.norm_epsilon);

  const auto key_length = keys.integer("attention.key_length", 2, kMostHeadDim);
  const auto value_length = keys.integer("attention.value_length", 2, kMostHeadDim);
  if (!key_length && config.hidden % config.heads != 0) {
    fail(ExitCode::model_files, "{}: embedding_length {} is no multiple of head_count {}",
         metadata.path().string(), config.hidden, config.heads);
  }
  config.head_dim = key_length.value_or(config.hidden / config.heads);
  if (value_length.value_or(config.head_dim) != config.head_dim) {
    fail(ExitCode::model_files, "{}: heads with keys of {} and values of {} are not supported",
         metadata.path().string(), config.head_dim, *value_length);
  }

  const TensorInfo* embedding = checkpoint.find("model.embed_tokens.weight");
  if (!embedding || embedding->shape.size() != 2 || embedding->shape[0] > kMostVocab) {
    fail(ExitCode::model_files,
         "{}: has no usable tensor \"token_embd.weight\": is it a vocabulary only?",
         metadata.path().string());
  }
  config.vocab = embedding->shape[0];
}

// What the file does not say in words but by the tensors it has.
void read_features(const Checkpoint& checkpoint, ModelConfig& config) {
  const auto in_layer = [&](std::string_view part) {
    return checkpoint.find("model.layers.0." + std::string(part)) != nullptr;
  };
  config.tied_head = checkpoint.find("lm_head.weight") == nullptr;
  config.fused_qkv = in_layer("self_attn.qkv_proj.weight");
  config.fused_gate_up = in_layer("mlp.gate_up_proj.weight");
  config.qkv_bias =
      in_layer(config.fused_qkv ? "self_attn.qkv_proj.bias" : "self_attn.q_proj.bias");
  config.output_bias = in_layer("self_attn.o_proj.bias");
  config.mlp_bias = in_layer("mlp.down_proj.bias");
  config.qk_norm = in_layer("self_attn.q_norm.weight");
}

// Values of one of the small F32 tensors that describe the rotary embedding; empty: absent.
std::vector<double> read_factors(const Checkpoint& checkpoint, std::string_view name) {
  const TensorInfo* tensor = checkpoint.find(name);
  if (!tensor) return {};
  const std::string where = checkpoint.file_of(*tensor);
  if (tensor->type != StorageType::f32 || tensor->shape.size() != 1 ||
      tensor->shape[0] > kMostHeadDim) {
    fail(ExitCode::model_files, "{}: tensor {} must be F32 with at most {} elements", where,
         printable(name), kMostHeadDim);
  }
  std::vector<float> values(tensor->shape[0]);
  checkpoint.read(*tensor, 0, std::as_writable_bytes(std::span(values)));
  for (const float value : values) {
    if (!(value >= kLeastRopeNumber && value <= kMostRopeNumber)) {
      fail(ExitCode::model_files, "{}: tensor {} holds {}", where, printable(name), value);
    }
  }
  return {values.begin(), values.end()};
}

RopeType rope_type(const GgufMetadata& metadata, const ArchitectureKeys& keys) {
  const std::string* type = metadata.find_string(keys.name("rope.scaling.type"));
  if (!type || *type == "none") return RopeType::none;
  if (*type == "linear") return RopeType::linear;
  if (*type == "yarn") return RopeType::yarn;
  if (*type == "longrope") return RopeType::longrope;
  fail(ExitCode::model_files, "{}: rope scaling type {} is not supported", metadata.path().string(),
       printable(*type));
}

void read_rope(const GgufMetadata& metadata, const ArchitectureKeys& keys,
               const Checkpoint& checkpoint, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  const auto number = [&](std::string_view key) {
    return keys.number(key, kLeastRopeNumber, kMostRopeNumber);
  };
  rope.theta = number("rope.freq_base").value_or(rope.theta);
  if (const auto rotated = keys.integer("rope.dimension_count", 2, config.head_dim)) {
    rope.partial_rotary_factor = static_cast<double>(*rotated) / config.head_dim;
  }
  rope.type = rope_type(metadata, keys);
  if (rope.type == RopeType::none && keys.number("rope.scale_linear", 0, kMostRopeNumber)) {
    rope.type = RopeType::linear;  // the key of files made before rope.scaling.*
  }
  const auto original = keys.integer("rope.scaling.original_context_length", 0, kMostPosition);
  rope.original_max_position = original.value_or(0);
  rope.factor = number("rope.scaling.factor").value_or(number("rope.scale_linear").value_or(1.0));
  rope.attention_factor = number("rope.scaling.attn_factor");
  rope.beta_fast = number("rope.scaling.yarn_beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = number("rope.scaling.yarn_beta_slow").value_or(rope.beta_slow);

  rope.frequency_divisors = read_factors(checkpoint, "rope_freqs.weight");
  rope.long_factor = read_factors(checkpoint, "rope_factors_long.weight");
  rope.short_factor = read_factors(checkpoint, "rope_factors_short.weight");
  if (!rope.long_factor.empty()) rope.type = RopeType::longrope;
  if (rope.type == RopeType::longrope && rope.original_max_position > 0 &&
      !keys.number("rope.scaling.factor", 0, kMostRopeNumber)) {
    rope.factor = static_cast<double>(config.max_position) / rope.original_max_position;
  }
}

void read_windows(const GgufMetadata& metadata, const ArchitectureKeys& keys, ModelConfig& config) {
  const int64_t window = keys.integer("attention.sliding_window", 0, kMostPosition).value_or(0);
  config.window.assign(config.layers, window);
  if (!keys.is_array("attention.sliding_window_pattern")) return;
  const auto& sliding = metadata.get_ints(keys.name("attention.sliding_window_pattern"));
  if (std::ssize(sliding) != config.layers) {
    fail(ExitCode::model_files, "{}: sliding_window_pattern has {} entries for {} layers",
         metadata.path().string(), sliding.size(), config.layers);
  }
  for (int64_t i = 0; i < config.layers; ++i) {
    if (sliding[i] == 0) config.window[i] = 0;
  }
}

// What files of Gemma 3 leave to those who read them. Their norms have the offset in them.
void complete_gemma3(const GgufMetadata& metadata, const ArchitectureKeys& keys,
                     ModelConfig& config) {
  constexpr double kMostCap = 1e9;
  constexpr int64_t kLayersOf27B = 62;
  if (keys.number("final_logit_softcapping", 0, kMostCap).value_or(0) > 0) {
    fail(ExitCode::model_files, "{}: {} is set: soft-capping of logits is not supported",
         metadata.path().string(), keys.name("final_logit_softcapping"));
  }
  constexpr const char* kPattern = "attention.sliding_window_pattern";
  if (!keys.is_array(kPattern)) {  // of a value a layer, which read_windows knows
    const int64_t period = keys.integer(kPattern, 1, kMostLayers).value_or(kGemma3Period);
    config.window = gemma3_windows(config.layers, config.window.front(), period);
  }
  set_gemma3(config);
  config.other_rope->theta = keys.number("rope.freq_base_swa", kLeastRopeNumber, kMostRopeNumber)
                                 .value_or(kGemma3WindowTheta);
  config.other_rope->partial_rotary_factor = config.rope.partial_rotary_factor;
  // The one size whose scores are not divided by the root of head_dim.
  if (config.layers == kLayersOf27B)
    config.score_divisor = static_cast<double>(config.hidden / config.heads);
}

// llama.cpp takes a scale of 0 for one that is not there.
void complete_granite(const ArchitectureKeys& keys, ModelConfig& config) {
  GraniteScales scales;
  const auto read = [&](std::string_view key, double& scale) {
    const double value = keys.number(key, 0, kMostScale).value_or(0);
    if (value >= kLeastScale) scale = value;
  };
  read("embedding_scale", scales.embedding);
  read("residual_scale", scales.residual);
  read("attention.scale", scales.attention);
  read("logit_scale", scales.logits);
  set_granite(config, scales);
}

int32_t token(const GgufMetadata& metadata, std::string_view key) {
  const int64_t id = metadata.find_int(key).value_or(-1);
  if (id < -1 || id > kMostVocab) {
    fail(ExitCode::model_files, "{}: {} is {}", metadata.path().string(), key, id);
  }
  return static_cast<int32_t>(id);
}

void read_special_tokens(const GgufMetadata& metadata, ModelConfig& config) {
  config.bos = token(metadata, "tokenizer.ggml.bos_token_id");
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const int32_t id = token(metadata, key);
    if (id >= 0 && std::ranges::find(config.eos, id) == config.eos.end()) config.eos.push_back(id);
  }
}

}  // namespace

ModelConfig read_gguf_config(const std::filesystem::path& path) {
  const GgufMetadata metadata = GgufMetadata::read(path);
  check_architecture(metadata);
  const ArchitectureKeys keys(metadata);
  const auto checkpoint = open_gguf(path);

  ModelConfig config;
  config.architecture = metadata.get_string("general.architecture");
  config.interleaved_rope =
      std::ranges::find(kInterleaved, config.architecture) != std::end(kInterleaved);
  read_sizes(keys, *checkpoint, metadata, config);
  read_experts(metadata, keys, *checkpoint, config);
  read_features(*checkpoint, config);
  read_rope(metadata, keys, *checkpoint, config);
  read_windows(metadata, keys, config);
  if (config.architecture == "gemma") set_gemma(config);
  if (config.architecture == "gemma3") complete_gemma3(metadata, keys, config);
  if (config.architecture == "granite") complete_granite(keys, config);
  if (config.architecture == "smollm3") set_smollm3(config, kSmolLm3Interval);
  read_special_tokens(metadata, config);
  check_config(config, path.string());
  return config;
}

}  // namespace dinfer
