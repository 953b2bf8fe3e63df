#include "checkpoint/gguf_names.h"

#include <algorithm>
#include <utility>

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
};

struct Exception {
  std::string_view architecture;
  Pair part;
};

constexpr Exception kExceptions[] = {
    {"phi3", {"ffn_up", "mlp.gate_up_proj"}},  // gate and up in one
    {"gemma3", {"ffn_norm", "pre_feedforward_layernorm"}},
};

template <size_t N>
std::string_view translate(const Pair (&table)[N], std::string_view part) {
  const Pair* at = std::ranges::find(table, part, &Pair::first);
  return at == table + N ? std::string_view() : at->second;
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
  // [blk.<layer>.]<part>.<weight or bias>
  const size_t last_dot = gguf_name.rfind('.');
  if (last_dot == std::string_view::npos) return std::string(gguf_name);
  const std::string_view suffix = gguf_name.substr(last_dot);
  std::string_view part = gguf_name.substr(0, last_dot);
  if (!part.starts_with("blk.")) {
    const std::string_view name = translate(kModelParts, part);
    return name.empty() ? std::string(gguf_name) : std::string(name) + std::string(suffix);
  }
  part.remove_prefix(4);
  const size_t dot = part.find('.');
  if (dot == std::string_view::npos) return std::string(gguf_name);
  const std::string_view layer = part.substr(0, dot);
  part.remove_prefix(dot + 1);
  const std::string_view name = layer_part(part, architecture);
  if (name.empty()) return std::string(gguf_name);
  return "model.layers." + std::string(layer) + "." + std::string(name) + std::string(suffix);
}

}  // namespace dinfer
