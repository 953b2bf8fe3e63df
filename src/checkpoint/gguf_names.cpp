#include "checkpoint/gguf_names.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

namespace dinfer {

namespace {

using Pair = std::pair<std::string_view, std::string_view>;

constexpr Pair kModelParts[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

constexpr Pair kLayerParts[] = {
    {"attn_norm", "input_layernorm"},
    {"attn_q", "self_attn.q_proj"},
    {"attn_k", "self_attn.k_proj"},
    {"attn_v", "self_attn.v_proj"},
    {"attn_qkv", "self_attn.qkv_proj"},
    {"attn_output", "self_attn.o_proj"},
    {"attn_q_norm", "self_attn.q_norm"},
    {"attn_k_norm", "self_attn.k_norm"},
    {"post_attention_norm", "post_attention_layernorm"},
    {"ffn_norm", "post_attention_layernorm"},
    {"post_ffw_norm", "post_feedforward_layernorm"},
    {"ffn_gate", "mlp.gate_proj"},
    {"ffn_up", "mlp.up_proj"},
    {"ffn_down", "mlp.down_proj"},
    {"ffn_gate_inp", "mlp.gate"},
};

struct Exception {
  std::string_view architecture;
  Pair part;
};

constexpr Exception kExceptions[] = {
    {"phi3", {"ffn_up", "mlp.gate_up_proj"}},  // gate and up in one
    {"gemma3", {"ffn_norm", "pre_feedforward_layernorm"}},
};

constexpr Pair kExpertParts[] = {
    {"ffn_gate_exps", "gate_proj"},
    {"ffn_up_exps", "up_proj"},
    {"ffn_down_exps", "down_proj"},
};

// "blk.<layer>.<part>.<weight or bias>"
struct LayerTensor {
  std::string_view layer, part, suffix;  // ".weight"
};

std::optional<LayerTensor> in_layer(std::string_view name) {
  const size_t last_dot = name.rfind('.');
  if (last_dot == std::string_view::npos) return std::nullopt;
  std::string_view rest = name.substr(0, last_dot);
  if (!rest.starts_with("blk.")) return std::nullopt;
  rest.remove_prefix(4);
  const size_t dot = rest.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  return LayerTensor{rest.substr(0, dot), rest.substr(dot + 1), name.substr(last_dot)};
}

template <size_t N>
std::string_view translate(const Pair (&table)[N], std::string_view part) {
  const Pair* at = std::ranges::find(table, part, &Pair::first);
  return at == table + N ? std::string_view() : at->second;
}

// "ffn_up.3" is the matrix of expert 3 alone: so files of before April 2024 have them.
std::string own_expert_part(std::string_view part) {
  const size_t dot = part.find('.');
  if (dot == std::string_view::npos) return "";
  const std::string stack = std::string(part.substr(0, dot)) + "_exps";
  const std::string_view name = translate(kExpertParts, stack);
  if (name.empty()) return "";
  return fmt::format("mlp.experts.{}.{}", part.substr(dot + 1), name);
}

std::string_view layer_part(std::string_view part, std::string_view architecture) {
  for (const Exception& exception : kExceptions) {
    if (exception.architecture == architecture && exception.part.first == part)
      return exception.part.second;
  }
  return translate(kLayerParts, part);
}

}  // namespace

std::string huggingface_name(std::string_view gguf_name, std::string_view architecture) {
  if (const auto tensor = in_layer(gguf_name)) {
    std::string name(layer_part(tensor->part, architecture));
    if (name.empty()) name = own_expert_part(tensor->part);
    if (name.empty()) return std::string(gguf_name);
    return fmt::format("model.layers.{}.{}{}", tensor->layer, name, tensor->suffix);
  }
  const size_t last_dot = gguf_name.rfind('.');
  if (last_dot == std::string_view::npos) return std::string(gguf_name);
  const std::string_view name = translate(kModelParts, gguf_name.substr(0, last_dot));
  if (name.empty()) return std::string(gguf_name);
  return std::string(name) + std::string(gguf_name.substr(last_dot));
}

std::string huggingface_expert_name(std::string_view gguf_name, int64_t expert) {
  const auto tensor = in_layer(gguf_name);
  const std::string_view name = tensor ? translate(kExpertParts, tensor->part) : "";
  if (name.empty()) return "";
  return fmt::format("model.layers.{}.mlp.experts.{}.{}{}", tensor->layer, expert, name,
                     tensor->suffix);
}

}  // namespace dinfer
