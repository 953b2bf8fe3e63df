#include "checkpoint/huggingface_config.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/config_limits.h"
#include "checkpoint/gemma_config.h"
#include "checkpoint/granite_config.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/smollm3_config.h"

namespace dinfer {

namespace {

constexpr uint64_t kMostConfigBytes = 16 << 20;

// How an architecture treats "sliding_window".
enum class Windows : uint8_t {
  never,       // its config class has no such key: some files carry it over from their ancestors
  always,      // in all layers, or those of "layer_types"
  period,      // in all but the last of each "sliding_window_pattern", or those of "layer_types"
  option,      // only with "use_sliding_window", in layers chosen by the config
  everywhere,  // only with "use_sliding_window", in all layers
};

// Values of further keys left out, where they are not required. 0: required.
struct Defaults {
  int64_t heads = 0;
  int64_t vocab = 0;
  int64_t max_position = 0;
  double theta = 10000.0;
  bool tied_head = false;
};

// How an architecture's config describes mixtures of experts.
enum class Experts : uint8_t { none, mixtral, qwen3 };

// Which further keys an architecture has.
enum class Keys : uint8_t { usual, gemma1, gemma3, granite, smollm3 };

// What an architecture fixes, and the values that its config class has for keys left out.
struct Family {
  std::string_view architecture;
  int64_t kv_heads;  // 0: as many as heads
  int64_t head_dim;  // 0: hidden size / heads
  double norm_epsilon;
  bool qkv_bias;
  bool bias_option;  // "attention_bias" adds biases to q, k, v and o
  bool qk_norm;
  bool fused;             // qkv_proj and gate_up_proj
  bool partial_rotation;  // "partial_rotary_factor" leaves a part of each head as it is
  Windows windows;
  int64_t window;  // for a key left out; 0: none
  Keys keys = Keys::usual;
  Defaults more = {};
  std::string_view text_type = "";  // of "text_config", where the keys then are; else at the top
  Experts experts = Experts::none;
};

constexpr Defaults kGemma1{.tied_head = true};
constexpr Defaults kGemma3{
    .heads = 8, .vocab = 262208, .max_position = 131072, .theta = 1e6, .tied_head = true};
constexpr Defaults kMistral3{.heads = 32, .vocab = 32000, .max_position = 131072};
constexpr Defaults kSmolLm3{
    .heads = 16, .vocab = 128256, .max_position = 32768, .theta = 2e6, .tied_head = true};

constexpr Family kFamilies[] = {
    {"LlamaForCausalLM", 0, 0, 1e-6, false, true, false, false, false, Windows::never, 0},
    {"MistralForCausalLM", 8, 0, 1e-6, false, false, false, false, false, Windows::always, 4096},
    {"Qwen2ForCausalLM", 32, 0, 1e-6, true, false, false, false, false, Windows::option, 4096},
    {"Qwen3ForCausalLM", 32, 128, 1e-6, false, true, true, false, false, Windows::option, 4096},
    {"Phi3ForCausalLM", 0, 0, 1e-5, false, false, false, true, true, Windows::always, 0},
    {"GemmaForCausalLM", 16, 256, 1e-6, false, true, false, false, false, Windows::never, 0,
     Keys::gemma1, kGemma1},
    {"Gemma3ForCausalLM", 4, 256, 1e-6, false, true, true, false, false, Windows::period, 4096,
     Keys::gemma3, kGemma3},
    {"Gemma3ForConditionalGeneration", 4, 256, 1e-6, false, true, true, false, false,
     Windows::period, 4096, Keys::gemma3, kGemma3, "gemma3_text"},
    {"MixtralForCausalLM", 8, 0, 1e-5, false, false, false, false, false, Windows::always, 0,
     Keys::usual, Defaults(), "", Experts::mixtral},
    {"Qwen3MoeForCausalLM", 4, 0, 1e-6, false, true, true, false, false, Windows::everywhere, 4096,
     Keys::usual, Defaults(), "", Experts::qwen3},
    {"Mistral3ForConditionalGeneration", 8, 0, 1e-6, false, false, false, false, false,
     Windows::always, 4096, Keys::usual, kMistral3, "mistral"},
    {"GraniteForCausalLM", 0, 0, 1e-6, false, true, false, false, false, Windows::never, 0,
     Keys::granite},
    {"SmolLM3ForCausalLM", 4, 0, 1e-6, false, true, false, false, false, Windows::everywhere, 0,
     Keys::smollm3, kSmolLm3},
};
constexpr int64_t kDefaultMaxWindowLayers = 28;

bool is_gemma(const Family& family) {
  return family.keys == Keys::gemma1 || family.keys == Keys::gemma3;
}

const Family& find_family(const JsonFields& json) {
  const auto names = json.strings("architectures");
  if (names.empty()) fail(ExitCode::model_files, "{}: has no \"architectures\"", json.where());
  const auto* at = std::ranges::find(kFamilies, names.front(), &Family::architecture);
  if (at != std::end(kFamilies)) return *at;
  std::string known;
  for (const Family& family : kFamilies)
    known += (known.empty() ? "" : ", ") + std::string(family.architecture);
  fail(ExitCode::model_files, "{}: architecture {} is not supported; supported are {}",
       json.where(), printable(names.front()), known);
}

Activation read_activation(const JsonFields& json, const Family& family) {
  const char* key = is_gemma(family) ? "hidden_activation" : "hidden_act";
  const std::string name =
      json.string(key).value_or(is_gemma(family) ? "gelu_pytorch_tanh" : "silu");
  if (name == "silu" || name == "swish") return Activation::silu;
  if (name == "gelu") return Activation::gelu;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh") return Activation::gelu_tanh;
  fail(ExitCode::model_files,
       "{}: {} {} is not supported; supported are silu, gelu, gelu_new and gelu_pytorch_tanh",
       json.where(), key, printable(name));
}

RopeType rope_type(const JsonFields& json) {
  std::string name = "default";
  if (const auto type = json.string("type")) name = *type;
  if (const auto type = json.string("rope_type")) name = *type;
  constexpr std::pair<std::string_view, RopeType> kTypes[] = {
      {"default", RopeType::none},  {"linear", RopeType::linear}, {"dynamic", RopeType::dynamic},
      {"llama3", RopeType::llama3}, {"yarn", RopeType::yarn},     {"longrope", RopeType::longrope},
      {"su", RopeType::longrope},
  };
  for (const auto& [known, type] : kTypes) {
    if (name == known) return type;
  }
  fail(ExitCode::model_files,
       "{}: rope type {} is not supported; supported are default, linear, "
       "dynamic, llama3, yarn and longrope",
       json.where(), printable(name));
}

// `scaling` is "rope_scaling" (transformers 4) or "rope_parameters" (5, with theta inside).
void read_rope_scaling(const JsonFields& scaling, const JsonFields& top, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  const auto number = [&](const char* key) {
    return scaling.number(key, kLeastRopeNumber, kMostRopeNumber);
  };
  rope.type = rope_type(scaling);
  rope.theta = number("rope_theta").value_or(rope.theta);
  rope.partial_rotary_factor =
      scaling.number("partial_rotary_factor", 0, 1).value_or(rope.partial_rotary_factor);
  auto original = scaling.integer("original_max_position_embeddings", 1, kMostPosition);
  if (!original) original = top.integer("original_max_position_embeddings", 1, kMostPosition);
  rope.original_max_position = original.value_or(0);
  const bool derived = rope.type == RopeType::yarn || rope.type == RopeType::longrope;
  const auto factor = number("factor");
  if (!factor && !derived && rope.type != RopeType::none) {
    fail(ExitCode::model_files, "{}: has no \"factor\"", scaling.where());
  }
  rope.factor =
      factor.value_or(derived && original ? double(config.max_position) / *original : 1.0);
  rope.low_frequency_factor = number("low_freq_factor").value_or(rope.low_frequency_factor);
  rope.high_frequency_factor = number("high_freq_factor").value_or(rope.high_frequency_factor);
  rope.beta_fast = number("beta_fast").value_or(rope.beta_fast);
  rope.beta_slow = number("beta_slow").value_or(rope.beta_slow);
  rope.truncate = scaling.boolean("truncate").value_or(rope.truncate);
  rope.attention_factor = number("attention_factor");
  rope.mscale = number("mscale");
  rope.mscale_all_dim = number("mscale_all_dim");
  if (rope.type == RopeType::longrope) {
    rope.short_factor = scaling.numbers("short_factor", kLeastRopeNumber, kMostRopeNumber);
    rope.long_factor = scaling.numbers("long_factor", kLeastRopeNumber, kMostRopeNumber);
  }
  // Qwen's way to switch yarn on keeps max_position_embeddings at the original length.
  if (rope.type == RopeType::yarn && original) {
    config.max_position =
        std::max(config.max_position,
                 static_cast<int64_t>(std::min(*original * rope.factor, double(kMostPosition))));
  }
}

void read_rope(const JsonFields& json, const Family& family, ModelConfig& config) {
  RopeConfig& rope = config.rope;
  rope.theta =
      json.number("rope_theta", kLeastRopeNumber, kMostRopeNumber).value_or(family.more.theta);
  rope.partial_rotary_factor = json.number("partial_rotary_factor", 0, 1).value_or(1.0);
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    if (const Json* scaling = json.find(key)) {
      const JsonFields fields(*scaling, json.where() + ": " + key);
      const Json* full = fields.find("full_attention");  // where kinds of layers differ
      read_rope_scaling(full ? JsonFields(*full, fields.where() + ": full_attention") : fields,
                        json, config);
      break;
    }
  }
  // These reckon from a max_position_embeddings that is still that of the model before. Since some
  // files have the longer one there, that stays what is taken unless more is asked for.
  if ((rope.type == RopeType::linear || rope.type == RopeType::dynamic) && !is_gemma(family)) {
    config.longest_position = static_cast<int64_t>(
        std::min(static_cast<double>(config.max_position) * rope.factor, double(kMostPosition)));
  }
  if (rope.partial_rotary_factor != 1 && !family.partial_rotation) {
    fail(ExitCode::model_files,
         "{}: partial_rotary_factor {} is not supported for {}, which rotates whole heads",
         json.where(), rope.partial_rotary_factor, family.architecture);
  }
}

// Tokens that each layer's positions see; 0: all.
std::vector<int64_t> read_windows(const JsonFields& json, const Family& family, int64_t layers) {
  int64_t window = json.integer("sliding_window", 0, kMostPosition)
                       .value_or(json.contains("sliding_window") ? 0 : family.window);
  const bool option = family.windows == Windows::option;
  if ((option || family.windows == Windows::everywhere) &&
      !json.boolean("use_sliding_window").value_or(false))
    window = 0;
  if (family.windows == Windows::never) window = 0;
  std::vector<int64_t> windows(layers, option ? 0 : window);
  const auto types = json.strings("layer_types");
  if (!types.empty() && types.size() != static_cast<size_t>(layers)) {
    fail(ExitCode::model_files, "{}: {} layer_types for {} layers", json.where(), types.size(),
         layers);
  }
  for (size_t i = 0; i < types.size(); ++i) {
    if (types[i] != "full_attention" && types[i] != "sliding_attention") {
      fail(ExitCode::model_files, "{}: layer type {} is not supported", json.where(),
           printable(types[i]));
    }
    windows[i] = types[i] == "sliding_attention" ? window : 0;
  }
  if (types.empty() && family.windows == Windows::period) {
    auto period = json.integer("sliding_window_pattern", 1, kMostLayers);
    if (!period) period = json.integer("_sliding_window_pattern", 1, kMostLayers);
    return gemma3_windows(layers, window, period.value_or(kGemma3Period));
  }
  if (types.empty() && option) {
    const int64_t first =
        json.integer("max_window_layers", 0, kMostLayers).value_or(kDefaultMaxWindowLayers);
    for (int64_t i = first; i < layers; ++i) windows[i] = window;
  }
  return windows;
}

// Which layers have experts: those of every "decoder_sparse_step" layers, but for
// "mlp_only_layers".
std::vector<bool> read_sparse_layers(const JsonFields& json, int64_t layers) {
  const int64_t step = json.integer("decoder_sparse_step", 1, kMostLayers).value_or(1);
  std::vector<bool> sparse(static_cast<size_t>(layers));
  for (int64_t i = 0; i < layers; ++i) sparse[static_cast<size_t>(i)] = (i + 1) % step == 0;
  for (const int64_t dense : json.integers("mlp_only_layers", 0, kMostLayers))
    if (dense < layers) sparse[static_cast<size_t>(dense)] = false;
  return sparse;
}

void refuse_shared_experts(const JsonFields& json) {
  for (const char* key :
       {"n_shared_experts", "num_shared_experts", "shared_expert_intermediate_size"}) {
    if (json.integer(key, 0, kMostFfn).value_or(0) == 0) continue;
    fail(ExitCode::model_files,
         "{}: {} is {}: experts that all tokens share are not supported; supported are mixtures as "
         "in Mixtral and Qwen3-MoE",
         json.where(), key, *json.integer(key, 0, kMostFfn));
  }
}

// Values for keys left out are those of transformers' config classes.
void read_experts(const JsonFields& json, const Family& family, ModelConfig& config) {
  if (family.experts == Experts::none) return;
  refuse_shared_experts(json);
  ExpertConfig& experts = config.experts;
  const auto count = [&](const char* key) { return json.integer(key, 0, kMostExperts); };
  if (family.experts == Experts::mixtral) {
    experts.count = count("num_local_experts").value_or(8);
    experts.chosen = count("num_experts_per_tok").value_or(2);
    experts.ffn = config.ffn;
    experts.layers.assign(static_cast<size_t>(config.layers), true);
    experts.mixtral_names = true;
  } else {
    auto number = count("num_experts");
    if (!number) number = count("num_local_experts");  // as transformers 5 writes it
    experts.count = number.value_or(128);
    experts.chosen = count("num_experts_per_tok").value_or(8);
    experts.ffn = json.integer("moe_intermediate_size", 1, kMostFfn).value_or(768);
    experts.normalized = json.boolean("norm_topk_prob").value_or(false);
    experts.layers = read_sparse_layers(json, config.layers);
  }
}

// Those of a single architecture.
void read_further_keys(const JsonFields& json, Keys keys, ModelConfig& config) {
  switch (keys) {
    case Keys::usual:
      return;
    case Keys::gemma1:
      return set_gemma(config);
    case Keys::gemma3:
      return read_gemma3(json, config);
    case Keys::granite:
      return read_granite(json, config);
    case Keys::smollm3:
      return read_smollm3(json, config);
  }
}

// Adds the ids of "eos_token_id" that are not known yet.
void add_eos(const JsonFields& json, ModelConfig& config) {
  for (const int64_t id : json.integers("eos_token_id", -1, kMostVocab)) {
    if (id >= 0 && std::ranges::find(config.eos, id) == config.eos.end()) {
      config.eos.push_back(static_cast<int32_t>(id));
    }
  }
}

void read_sizes(const JsonFields& json, const Family& family, ModelConfig& config) {
  const auto size = [&](const char* key, int64_t otherwise, int64_t most) {
    return otherwise > 0 ? json.integer(key, 1, most).value_or(otherwise)
                         : json.required_integer(key, 1, most);
  };
  config.hidden = json.required_integer("hidden_size", 1, kMostHidden);
  config.layers = json.required_integer("num_hidden_layers", 1, kMostLayers);
  config.heads = size("num_attention_heads", family.more.heads, kMostHeads);
  const int64_t kv_heads =
      json.contains("num_key_value_heads") || family.kv_heads == 0 ? config.heads : family.kv_heads;
  config.kv_heads = json.integer("num_key_value_heads", 1, kMostHeads).value_or(kv_heads);
  const auto head_dim = json.integer("head_dim", 2, kMostHeadDim);
  if (!head_dim && family.head_dim == 0 && config.hidden % config.heads != 0) {
    fail(ExitCode::model_files,
         "{}: hidden_size {} is no multiple of num_attention_heads {}, and there is no head_dim",
         json.where(), config.hidden, config.heads);
  }
  config.head_dim =
      head_dim.value_or(family.head_dim != 0 ? family.head_dim : config.hidden / config.heads);
  config.ffn = json.required_integer("intermediate_size", 1, kMostFfn);
  config.vocab = size("vocab_size", family.more.vocab, kMostVocab);
  config.max_position = size("max_position_embeddings", family.more.max_position, kMostPosition);
  config.norm_epsilon = json.number("rms_norm_eps", 1e-30, 1).value_or(family.norm_epsilon);
}

// The keys of the language model: those of a model for images too are an object of their own.
JsonFields text_fields(const JsonFields& whole, const Family& family) {
  if (family.text_type.empty()) return whole;
  const Json* text = whole.find("text_config");
  if (!text) fail(ExitCode::model_files, "{}: has no \"text_config\"", whole.where());
  const JsonFields fields(*text, whole.where() + ": text_config");
  const std::string type = fields.string("model_type").value_or(std::string(family.text_type));
  if (type != family.text_type) {
    fail(ExitCode::model_files, "{}: model_type {} is not supported; supported in {} is {}",
         fields.where(), printable(type), family.architecture, family.text_type);
  }
  return fields;
}

}  // namespace

ModelConfig read_huggingface_config(const std::filesystem::path& directory) {
  const auto path = directory / "config.json";
  const Json text =
      parse_json(read_text_file(path, kMostConfigBytes), path.string(), ExitCode::model_files);
  const JsonFields whole(text, path.string());
  const Family& family = find_family(whole);
  const JsonFields json = text_fields(whole, family);

  ModelConfig config;
  config.architecture = family.architecture;
  read_sizes(json, family, config);
  const bool all_biases = family.bias_option && json.boolean("attention_bias").value_or(false);
  config.tied_head = json.boolean("tie_word_embeddings").value_or(family.more.tied_head);
  config.qkv_bias = family.qkv_bias || all_biases;
  config.output_bias = all_biases;
  config.mlp_bias = family.experts == Experts::none && json.boolean("mlp_bias").value_or(false);
  config.qk_norm = family.qk_norm;
  config.fused_qkv = family.fused;
  config.fused_gate_up = family.fused;
  if (is_gemma(family)) config.norm_offset = 1.0f;
  config.window = read_windows(json, family, config.layers);
  read_further_keys(json, family.keys, config);
  config.activation = read_activation(json, family);
  read_experts(json, family, config);
  config.bos = static_cast<int32_t>(json.integer("bos_token_id", -1, kMostVocab).value_or(-1));
  read_rope(json, family, config);
  for (const JsonFields& fields : {json, whole}) add_eos(fields, config);
  const auto generation = directory / "generation_config.json";
  if (is_present(generation)) {
    const Json extra = parse_json(read_text_file(generation, kMostConfigBytes), generation.string(),
                                  ExitCode::model_files);
    add_eos(JsonFields(extra, generation.string()), config);
  }
  check_config(config, path.string());
  return config;
}

}  // namespace dinfer
