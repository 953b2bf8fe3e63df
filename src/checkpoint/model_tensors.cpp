#include "checkpoint/model_tensors.h"

#include <fmt/format.h>

namespace dinfer {
namespace {

class TensorList {
 public:
  void matrix(const std::string& module, int64_t rows, int64_t columns) {
    tensors.push_back({module + ".weight", {rows, columns}});
  }
  void vector(const std::string& name, int64_t size) { tensors.push_back({name, {size}}); }
  void linear(const std::string& module, int64_t rows, int64_t columns, bool bias) {
    matrix(module, rows, columns);
    if (bias) vector(module + ".bias", rows);
  }

  std::vector<ModelTensor> tensors;
};

void add_attention(TensorList& list, const ModelConfig& c, const std::string& layer) {
  const std::string attention = layer + "self_attn.";
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  list.vector(layer + "input_layernorm.weight", c.hidden);
  if (c.fused_qkv) {
    list.linear(attention + "qkv_proj", q + 2 * kv, c.hidden, c.qkv_bias);
  } else {
    list.linear(attention + "q_proj", q, c.hidden, c.qkv_bias);
    list.linear(attention + "k_proj", kv, c.hidden, c.qkv_bias);
    list.linear(attention + "v_proj", kv, c.hidden, c.qkv_bias);
  }
  list.linear(attention + "o_proj", c.hidden, q, c.output_bias);
  if (c.qk_norm) {
    list.vector(attention + "q_norm.weight", c.head_dim);
    list.vector(attention + "k_norm.weight", c.head_dim);
  }
  if (c.post_norms) list.vector(layer + "post_attention_layernorm.weight", c.hidden);
}

void add_experts(TensorList& list, const ModelConfig& c, int64_t layer) {
  list.matrix(router_module(c, layer), c.experts.count, c.hidden);
  for (const MlpModules& expert : mlp_modules(c, layer)) {
    list.matrix(expert.gate, c.experts.ffn, c.hidden);
    list.matrix(expert.up, c.experts.ffn, c.hidden);
    list.matrix(expert.down, c.hidden, c.experts.ffn);
  }
}

void add_dense(TensorList& list, const ModelConfig& c, int64_t layer) {
  const MlpModules mlp = mlp_modules(c, layer).front();
  if (c.fused_gate_up) {
    list.linear(mlp.gate, 2 * c.ffn, c.hidden, c.mlp_bias);
  } else {
    list.linear(mlp.gate, c.ffn, c.hidden, c.mlp_bias);
    list.linear(mlp.up, c.ffn, c.hidden, c.mlp_bias);
  }
  list.linear(mlp.down, c.hidden, c.ffn, c.mlp_bias);
}

void add_mlp(TensorList& list, const ModelConfig& c, int64_t layer) {
  const std::string prefix = fmt::format("model.layers.{}.", layer);
  list.vector(prefix + mlp_norm_name(c), c.hidden);
  c.has_experts(layer) ? add_experts(list, c, layer) : add_dense(list, c, layer);
  if (c.post_norms) list.vector(prefix + "post_feedforward_layernorm.weight", c.hidden);
}

}  // namespace

const char* mlp_norm_name(const ModelConfig& config) {
  return config.post_norms ? "pre_feedforward_layernorm.weight" : "post_attention_layernorm.weight";
}

std::vector<MlpModules> mlp_modules(const ModelConfig& config, int64_t layer) {
  const std::string mlp = fmt::format("model.layers.{}.mlp.", layer);
  if (!config.has_experts(layer)) {
    if (config.fused_gate_up)
      return {MlpModules{mlp + "gate_up_proj", mlp + "gate_up_proj", mlp + "down_proj"}};
    return {MlpModules{mlp + "gate_proj", mlp + "up_proj", mlp + "down_proj"}};
  }
  std::vector<MlpModules> modules;
  for (int64_t expert = 0; expert < config.experts.count; ++expert) {
    if (config.experts.mixtral_names) {
      const std::string own =
          fmt::format("model.layers.{}.block_sparse_moe.experts.{}.", layer, expert);
      modules.push_back({own + "w1", own + "w3", own + "w2"});
    } else {
      const std::string own = fmt::format("{}experts.{}.", mlp, expert);
      modules.push_back({own + "gate_proj", own + "up_proj", own + "down_proj"});
    }
  }
  return modules;
}

std::string router_module(const ModelConfig& config, int64_t layer) {
  return fmt::format("model.layers.{}.{}.gate", layer,
                     config.experts.mixtral_names ? "block_sparse_moe" : "mlp");
}

std::vector<ModelTensor> model_tensors(const ModelConfig& config) {
  TensorList list;
  list.matrix("model.embed_tokens", config.vocab, config.hidden);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    add_attention(list, config, layer);
    add_mlp(list, config, i);
  }
  list.vector("model.norm.weight", config.hidden);
  // A tied head is the embedding, even where the file has a copy of it.
  if (!config.tied_head) list.matrix("lm_head", config.vocab, config.hidden);
  return std::move(list.tensors);
}

}  // namespace dinfer
