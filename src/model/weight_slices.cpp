#include "model/weight_slices.h"

#include <fmt/format.h>

#include "checkpoint/model_tensors.h"

namespace dinfer {
namespace {

Range shifted(Range range, int64_t by) { return {range.begin + by, range.end + by}; }

Range scaled(Range range, int64_t by) { return {range.begin * by, range.end * by}; }

MatrixSlices qkv_slices(const ModelConfig& config, const Shard& shard,
                        const std::string& attention) {
  const Range hidden{0, config.hidden};
  const Range q = scaled(shard.heads, config.head_dim);
  const Range kv = scaled(shard.kv_heads, config.head_dim);
  if (config.fused_qkv) {
    const std::string module = attention + ".qkv_proj";
    const int64_t k_rows = config.heads * config.head_dim;  // where k begins, then v
    const int64_t v_rows = k_rows + config.kv_heads * config.head_dim;
    return {{module, q, hidden, true},
            {module, shifted(kv, k_rows), hidden, true},
            {module, shifted(kv, v_rows), hidden}};
  }
  return {{attention + ".q_proj", q, hidden, true},
          {attention + ".k_proj", kv, hidden, true},
          {attention + ".v_proj", kv, hidden}};
}

void add_mlp(const ModelConfig& config, const MlpModules& mlp, Range ffn, LayerSlices& slices) {
  const Range hidden{0, config.hidden};
  const bool fused = mlp.gate == mlp.up;
  slices.gate_up.push_back({mlp.gate, ffn, hidden});
  slices.gate_up.push_back({mlp.up, fused ? shifted(ffn, config.ffn) : ffn, hidden});
  slices.down.push_back({mlp.down, hidden, ffn});
}

}  // namespace

std::string layer_tensor(int64_t layer, const std::string& name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

LayerSlices layer_slices(const ModelConfig& config, const Shard& shard, int64_t layer) {
  const Range hidden{0, config.hidden};
  const std::string attention = layer_tensor(layer, "self_attn");
  LayerSlices slices{
      .qkv = qkv_slices(config, shard, attention),
      .output = {{attention + ".o_proj", hidden, scaled(shard.heads, config.head_dim)}}};
  const bool sparse = config.has_experts(layer);
  if (sparse) slices.router = {{router_module(config, layer), {0, config.experts.count}, hidden}};
  for (const MlpModules& mlp : mlp_modules(config, layer))
    add_mlp(config, mlp, sparse ? shard.expert_ffn : shard.ffn, slices);
  return slices;
}

MatrixSlices embedding_slices(const ModelConfig& config, const Shard& shard) {
  return {{"model.embed_tokens", shard.vocab, {0, config.hidden}}};
}

MatrixSlices head_slices(const ModelConfig& config, const Shard& shard) {
  return {{config.tied_head ? "model.embed_tokens" : "lm_head", shard.vocab, {0, config.hidden}}};
}

}  // namespace dinfer
