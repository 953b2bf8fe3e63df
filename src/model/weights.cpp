#include "model/weights.h"

#include "checkpoint/model_tensors.h"
#include "model/weight_source.h"

namespace dinfer {
namespace {

// Embedding and head are kept at 8 bits even where layers have 4.
constexpr int kVocabularyBits = 8;

LayerWeights assemble_layer(const ModelConfig& config, const Shard& shard, int64_t layer,
                            WeightSource& source) {
  LayerWeights w;
  if (!shard.owns(unit::attention(layer)) && !shard.owns(unit::mlp(layer))) return w;
  const LayerSlices slices = layer_slices(config, shard, layer);
  auto norm = [&](const char* name, int64_t size) {
    return source.norm(layer_tensor(layer, name), size, 1);
  };
  const bool first = shard.rank == 0;
  if (shard.owns(unit::attention(layer))) {
    w.attention_norm = norm("input_layernorm.weight", config.hidden);
    w.qkv = source.matrix(slices.qkv, MatrixKind::layer);
    if (config.qkv_bias) w.qkv_bias = source.bias(slices.qkv);
    if (config.qk_norm) {
      w.q_norm = norm("self_attn.q_norm.weight", config.head_dim);
      w.k_norm = norm("self_attn.k_norm.weight", config.head_dim);
    }
    w.output = source.matrix(slices.output, MatrixKind::layer);
    // Outputs of row-parallel matrices are summed over the group: one rank adds the bias.
    if (first && config.output_bias) w.output_bias = source.bias(slices.output);
    if (config.post_norms) w.output_norm = norm("post_attention_layernorm.weight", config.hidden);
  }
  if (shard.owns(unit::mlp(layer))) {
    w.mlp_norm = norm(mlp_norm_name(config), config.hidden);
    if (config.has_experts(layer)) {
      w.router = source.matrix(slices.router, MatrixKind::router);
      w.gate_up = source.matrix(slices.gate_up, MatrixKind::experts, config.experts.count);
      w.down = source.matrix(slices.down, MatrixKind::experts, config.experts.count);
    } else {
      w.gate_up = source.matrix(slices.gate_up, MatrixKind::layer);
      if (config.mlp_bias) w.gate_up_bias = source.bias(slices.gate_up);
      w.down = source.matrix(slices.down, MatrixKind::layer);
      if (first && config.mlp_bias) w.down_bias = source.bias(slices.down);
    }
    if (config.post_norms) w.down_norm = norm("post_feedforward_layernorm.weight", config.hidden);
  }
  return w;
}

}  // namespace

ModelWeights assemble_weights(const ModelConfig& config, const Shard& shard, WeightSource& source) {
  ModelWeights weights;
  if (shard.owns(unit::kEmbed))
    weights.embedding = source.matrix(embedding_slices(config, shard), MatrixKind::vocabulary);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    weights.layers.push_back(assemble_layer(config, shard, layer, source));
  }
  if (!shard.owns(unit::head(config.layers))) return weights;
  weights.final_norm = source.norm("model.norm.weight", config.hidden, config.logit_scale);
  weights.head = config.tied_head && weights.embedding
                     ? weights.embedding
                     : source.matrix(head_slices(config, shard), MatrixKind::vocabulary);
  return weights;
}

QuantSpec matrix_quantization(const QuantChoice& asked, const std::string& module, MatrixKind kind,
                              int64_t columns) {
  if (kind == MatrixKind::router) return {};
  QuantSpec spec = asked.of(module);
  const bool by_name = asked.modules.contains(module);
  if (spec.bits != 0 && kind == MatrixKind::vocabulary && !by_name) spec.bits = kVocabularyBits;
  return fitting_quantization(spec, columns);
}

void for_each_slice(const ModelConfig& config, const Shard& shard,
                    const std::function<void(const ModuleSlice&, MatrixKind)>& visit) {
  auto visit_all = [&](const MatrixSlices& slices, MatrixKind kind) {
    for (const ModuleSlice& slice : slices) visit(slice, kind);
  };
  const bool embeds = shard.owns(unit::kEmbed);
  if (embeds) visit_all(embedding_slices(config, shard), MatrixKind::vocabulary);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    const bool attends = shard.owns(unit::attention(layer)), has_mlp = shard.owns(unit::mlp(layer));
    if (!attends && !has_mlp) continue;
    const LayerSlices slices = layer_slices(config, shard, layer);
    if (attends) {
      visit_all(slices.qkv, MatrixKind::layer);
      visit_all(slices.output, MatrixKind::layer);
    }
    if (!has_mlp) continue;
    const MatrixKind mlp = config.has_experts(layer) ? MatrixKind::experts : MatrixKind::layer;
    visit_all(slices.router, MatrixKind::router);
    visit_all(slices.gate_up, mlp);
    visit_all(slices.down, mlp);
  }
  if (shard.owns(unit::head(config.layers)) && !(config.tied_head && embeds))
    visit_all(head_slices(config, shard), MatrixKind::vocabulary);
}

uint64_t quantized_bytes(const ModuleSlice& slice, const QuantSpec& spec) {
  const auto elements = static_cast<uint64_t>(slice.rows.size() * slice.columns.size());
  const uint64_t groups = elements / static_cast<uint64_t>(spec.group);
  return elements * static_cast<uint64_t>(spec.bits) / 8 + groups * (spec.bits == 4 ? 4 : 2);
}

DeviceVector::DeviceVector(Device& device, std::span<const float> values)
    : buffer_(device.allocate(values.size_bytes())) {
  device.copy_in(buffer_->data(), std::as_bytes(values));
}

WeightBytes ModelWeights::bytes_per_step() const {
  WeightBytes bytes{.always = head ? head->bytes() : 0};
  for (const LayerWeights& w : layers) {
    if (w.qkv) bytes.always += w.qkv->bytes() + w.output->bytes();
    if (w.router) bytes.always += w.router->bytes();
    if (w.gate_up)
      (w.router ? bytes.experts : bytes.always) += w.gate_up->bytes() + w.down->bytes();
  }
  return bytes;
}

size_t ModelWeights::bytes() const {
  return bytes_per_step().all() + (!embedding || embedding == head ? 0 : embedding->bytes());
}

}  // namespace dinfer
