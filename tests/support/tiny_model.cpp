#include "tests/support/tiny_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

#include "base/error.h"
#include "checkpoint/model_tensors.h"

namespace dinfer::test {

void MemoryCheckpoint::add(std::string name, std::vector<int64_t> shape,
                           std::vector<float> values) {
  index_.emplace(name, tensors_.size());
  TensorInfo info;
  info.name = std::move(name);
  info.shape = std::move(shape);
  info.bytes = values.size() * sizeof(float);
  tensors_.push_back(std::move(info));
  values_.push_back(std::move(values));
}

const TensorInfo* MemoryCheckpoint::find(std::string_view name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second];
}

void MemoryCheckpoint::read(const TensorInfo& tensor, uint64_t offset,
                            std::span<std::byte> out) const {
  const auto bytes = std::as_bytes(std::span(values(tensor.name)));
  check(offset + out.size() <= bytes.size(), "a read stays inside its tensor");
  std::memcpy(out.data(), bytes.data() + offset, out.size());
  bytes_read_ += out.size();
}

const std::vector<float>& MemoryCheckpoint::values(std::string_view name) const {
  const auto found = index_.find(name);
  check(found != index_.end(), "the tensor was added");
  return values_[found->second];
}

ModelConfig tiny_config() {
  ModelConfig config;
  config.architecture = "tiny";
  config.hidden = 64;
  config.layers = 2;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.ffn = 96;
  config.vocab = 80;
  config.max_position = 128;
  config.window = {0, 0};
  config.eos = {2};
  config.bos = 1;
  return config;
}

ModelConfig tiny_experts(int64_t dense_layers) {
  ModelConfig config = tiny_config();
  config.layers = 3;
  config.window.assign(3, 0);
  config.experts = {.count = 5, .chosen = 2, .ffn = 48, .layers = std::vector<bool>(3, true)};
  std::fill_n(config.experts.layers.begin(), dense_layers, false);
  return config;
}

std::unique_ptr<MemoryCheckpoint> tiny_checkpoint(const ModelConfig& config, uint64_t seed) {
  auto checkpoint = std::make_unique<MemoryCheckpoint>();
  MemoryCheckpoint& out = *checkpoint;
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  auto values = [&](int64_t count, float mean, float deviation) {
    std::vector<float> result(static_cast<size_t>(count));
    for (float& value : result) value = mean + deviation * normal(random);
    return result;
  };
  auto linear = [&](const std::string& module, int64_t rows, int64_t columns, bool bias) {
    const float deviation = 1.0f / std::sqrt(static_cast<float>(columns));
    out.add(module + ".weight", {rows, columns}, values(rows * columns, 0.0f, deviation));
    if (bias) out.add(module + ".bias", {rows}, values(rows, 0.0f, 0.5f));
  };
  auto norm = [&](const std::string& name, int64_t size) {
    out.add(name, {size}, values(size, 1.0f, 0.2f));
  };

  const int64_t q = config.heads * config.head_dim;
  const int64_t kv = config.kv_heads * config.head_dim;
  linear("model.embed_tokens", config.vocab, config.hidden, false);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i);
    norm(layer + ".input_layernorm.weight", config.hidden);
    norm(layer + ".post_attention_layernorm.weight", config.hidden);
    if (config.post_norms) {
      norm(layer + ".pre_feedforward_layernorm.weight", config.hidden);
      norm(layer + ".post_feedforward_layernorm.weight", config.hidden);
    }
    if (config.fused_qkv) {
      linear(layer + ".self_attn.qkv_proj", q + 2 * kv, config.hidden, config.qkv_bias);
    } else {
      linear(layer + ".self_attn.q_proj", q, config.hidden, config.qkv_bias);
      linear(layer + ".self_attn.k_proj", kv, config.hidden, config.qkv_bias);
      linear(layer + ".self_attn.v_proj", kv, config.hidden, config.qkv_bias);
    }
    if (config.qk_norm) {
      norm(layer + ".self_attn.q_norm.weight", config.head_dim);
      norm(layer + ".self_attn.k_norm.weight", config.head_dim);
    }
    linear(layer + ".self_attn.o_proj", config.hidden, q, config.output_bias);
    if (config.has_experts(i)) {
      linear(router_module(config, i), config.experts.count, config.hidden, false);
      for (const MlpModules& expert : mlp_modules(config, i)) {
        linear(expert.gate, config.experts.ffn, config.hidden, false);
        linear(expert.up, config.experts.ffn, config.hidden, false);
        linear(expert.down, config.hidden, config.experts.ffn, false);
      }
      continue;
    }
    if (config.fused_gate_up) {
      linear(layer + ".mlp.gate_up_proj", 2 * config.ffn, config.hidden, config.mlp_bias);
    } else {
      linear(layer + ".mlp.gate_proj", config.ffn, config.hidden, config.mlp_bias);
      linear(layer + ".mlp.up_proj", config.ffn, config.hidden, config.mlp_bias);
    }
    linear(layer + ".mlp.down_proj", config.hidden, config.ffn, config.mlp_bias);
  }
  norm("model.norm.weight", config.hidden);
  if (!config.tied_head) linear("lm_head", config.vocab, config.hidden, false);
  return checkpoint;
}

}  // namespace dinfer::test
