#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/model_files.h"
#include "checkpoint/printable.h"

namespace dinfer {

namespace {

// Checks one tensor at a time against the checkpoint.
class TensorCheck {
 public:
  explicit TensorCheck(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}

  void matrix(const std::string& name, int64_t rows, int64_t columns) const {
    check_shape(name + ".weight", {rows, columns});
  }

  // Norms and biases: vectors, never stored in blocks.
  void vector(const std::string& name, int64_t size) const {
    const TensorInfo& tensor = check_shape(name, {size});
    if (traits_of(tensor.type).block_elements > 1) {
      fail(ExitCode::model_files,
           "{}: tensor {} is stored as {}; norms and biases must be F32, F16 or BF16",
           checkpoint_.file_of(tensor), printable(name), traits_of(tensor.type).name);
    }
  }

  void linear(const std::string& name, int64_t rows, int64_t columns, bool bias) const {
    matrix(name, rows, columns);
    if (bias) vector(name + ".bias", rows);
  }

 private:
  const TensorInfo& check_shape(const std::string& name, const std::vector<int64_t>& shape) const {
    const TensorInfo* tensor = checkpoint_.find(name);
    if (!tensor) {
      fail(ExitCode::model_files,
           "the model's files lack tensor {} of shape [{}], which its config asks for",
           printable(name), fmt::join(shape, ", "));
    }
    if (tensor->shape != shape) {
      fail(ExitCode::model_files,
           "{}: tensor {} has shape [{}], but the model's config asks for [{}]",
           checkpoint_.file_of(*tensor), printable(name), fmt::join(tensor->shape, ", "),
           fmt::join(shape, ", "));
    }
    return *tensor;
  }

  const Checkpoint& checkpoint_;
};

void check_attention(const TensorCheck& check, const ModelConfig& c, const std::string& layer) {
  const std::string attention = layer + "self_attn.";
  const int64_t q = c.heads * c.head_dim;
  const int64_t kv = c.kv_heads * c.head_dim;
  check.vector(layer + "input_layernorm.weight", c.hidden);
  if (c.fused_qkv) {
    check.linear(attention + "qkv_proj", q + 2 * kv, c.hidden, c.qkv_bias);
  } else {
    check.linear(attention + "q_proj", q, c.hidden, c.qkv_bias);
    check.linear(attention + "k_proj", kv, c.hidden, c.qkv_bias);
    check.linear(attention + "v_proj", kv, c.hidden, c.qkv_bias);
  }
  check.linear(attention + "o_proj", c.hidden, q, c.output_bias);
  if (c.qk_norm) {
    check.vector(attention + "q_norm.weight", c.head_dim);
    check.vector(attention + "k_norm.weight", c.head_dim);
  }
}

void check_mlp(const TensorCheck& check, const ModelConfig& c, const std::string& layer) {
  const std::string mlp = layer + "mlp.";
  check.vector(layer + "post_attention_layernorm.weight", c.hidden);
  if (c.fused_gate_up) {
    check.linear(mlp + "gate_up_proj", 2 * c.ffn, c.hidden, c.mlp_bias);
  } else {
    check.linear(mlp + "gate_proj", c.ffn, c.hidden, c.mlp_bias);
    check.linear(mlp + "up_proj", c.ffn, c.hidden, c.mlp_bias);
  }
  check.linear(mlp + "down_proj", c.hidden, c.ffn, c.mlp_bias);
}

}  // namespace

void check_tensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  const TensorCheck check(checkpoint);
  check.matrix("model.embed_tokens", config.vocab, config.hidden);
  for (int64_t i = 0; i < config.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    check_attention(check, config, layer);
    check_mlp(check, config, layer);
  }
  check.vector("model.norm.weight", config.hidden);
  // A tied head is the embedding, even where the file has a copy of it.
  if (!config.tied_head) check.matrix("lm_head", config.vocab, config.hidden);
}

}  // namespace dinfer
