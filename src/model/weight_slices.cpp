#include "model/weight_slices.h"

#include <fmt/format.h>

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

MatrixSlices gate_up_slices(const ModelConfig& config, const Shard& shard, const std::string& mlp) {
  const Range hidden{0, config.hidden};
  if (config.fused_gate_up) {
    const std::string module = mlp + ".gate_up_proj";
    return {{module, shard.ffn, hidden}, {module, shifted(shard.ffn, config.ffn), hidden}};
  }
  return {{mlp + ".gate_proj", shard.ffn, hidden}, {mlp + ".up_proj", shard.ffn, hidden}};
}

}  // namespace

std::string layer_tensor(int64_t layer, const std::string& name) {
  return fmt::format("model.layers.{}.{}", layer, name);
}

LayerSlices layer_slices(const ModelConfig& config, const Shard& shard, int64_t layer) {
  const Range hidden{0, config.hidden};
  const std::string attention = layer_tensor(layer, "self_attn");
  const std::string mlp = layer_tensor(layer, "mlp");
  return {.qkv = qkv_slices(config, shard, attention),
          .output = {{attention + ".o_proj", hidden, scaled(shard.heads, config.head_dim)}},
          .gate_up = gate_up_slices(config, shard, mlp),
          .down = {{mlp + ".down_proj", hidden, shard.ffn}}};
}

MatrixSlices embedding_slices(const ModelConfig& config, const Shard& shard) {
  return {{"model.embed_tokens", shard.vocab, {0, config.hidden}}};
}

MatrixSlices head_slices(const ModelConfig& config, const Shard& shard) {
  return {{config.tied_head ? "model.embed_tokens" : "lm_head", shard.vocab, {0, config.hidden}}};
}

}  // namespace dinfer
