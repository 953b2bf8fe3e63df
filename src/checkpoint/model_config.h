#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/activation.h"

namespace dinfer {

// none: rotated as theta says; still: not rotated at all.
enum class RopeType : uint8_t { none, linear, dynamic, llama3, yarn, longrope, still };

// Rotary position embedding and its scaling, with the meaning that Hugging Face's
// modeling_rope_utils gives these fields. Fields of other types are not read.
struct RopeConfig {
  RopeType type = RopeType::none;
  double theta = 10000.0;
  double partial_rotary_factor = 1.0;  // share of head_dim that is rotated
  double factor = 1.0;
  double low_frequency_factor = 1.0;       // llama3
  double high_frequency_factor = 4.0;      // llama3
  int64_t original_max_position = 0;       // 0: max_position
  double beta_fast = 32.0;                 // yarn
  double beta_slow = 1.0;                  // yarn
  bool truncate = true;                    // yarn
  std::optional<double> attention_factor;  // yarn, longrope: given, not derived
  std::optional<double> mscale;            // yarn
  std::optional<double> mscale_all_dim;    // yarn
  std::vector<double> short_factor;        // longrope, head_dim / 2 each
  std::vector<double> long_factor;
  std::vector<double> frequency_divisors;  // GGUF rope_freqs: overrides the type's own scaling
};

// Mixtures of experts in place of layers' MLPs.
struct ExpertConfig {
  int64_t count = 0;           // 0: all MLPs are dense
  int64_t chosen = 0;          // for each token
  int64_t ffn = 0;             // of each expert
  bool normalized = true;      // the weights of the chosen add up to 1
  std::vector<bool> layers;    // which have experts
  bool mixtral_names = false;  // block_sparse_moe.experts.E.w1, w3, w2 for mlp.experts.E.gate_proj,
                               // up_proj, down_proj

  // The share of a layer's experts that so many rows need, where each row's choice is as likely as
  // any other.
  double share_of(double rows) const {
    if (count == 0) return 1;
    return 1 - std::pow(1 - static_cast<double>(chosen) / static_cast<double>(count), rows);
  }
};

// Everything the forward pass needs to know of a model: features, not model names.
struct ModelConfig {
  std::string architecture;  // as the file says: for messages only
  int64_t hidden = 0;
  int64_t layers = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t ffn = 0;               // of layers without experts
  int64_t vocab = 0;             // rows of the embedding
  int64_t max_position = 0;      // context length the model was made for
  int64_t longest_position = 0;  // how far its rope scaling reaches, where that is further
  double norm_epsilon = 1e-5;
  bool tied_head = false;
  bool qkv_bias = false;
  bool output_bias = false;  // attention output projection
  bool mlp_bias = false;
  bool qk_norm = false;    // RMSNorm over head_dim on q and k, before rope
  bool fused_qkv = false;  // stored as one tensor (Phi-3)
  bool fused_gate_up = false;
  bool interleaved_rope = false;  // stored for rotation of (2i, 2i+1) pairs (GGUF llama)
  bool post_norms = false;   // RMSNorm of what attention and MLP add, before it is added (Gemma 3)
  float norm_offset = 0.0f;  // what the file's norm weights lack (Gemma: 1); added while loading
  float embedding_scale = 1.0f;  // what embeddings are multiplied by
  float logit_scale = 1.0f;      // what logits are multiplied by
  double score_divisor = 0;      // attention scores are divided by its square root; 0: head_dim
  Activation activation = Activation::silu;
  ExpertConfig experts;
  RopeConfig rope;
  std::optional<RopeConfig> other_rope;  // of some layers, where they differ: those with a window
                                         // (Gemma 3), or one in so many (SmolLM3)
  std::vector<bool> other_rope_layers;   // which, where there is one
  std::vector<int64_t> window;           // a layer: tokens a position sees, itself included; 0: all
  std::vector<int32_t> eos;              // token ids that end a text
  int32_t bos = -1;

  bool has_experts(int64_t layer) const {
    return experts.count > 0 && experts.layers[static_cast<size_t>(layer)];
  }
  bool rotates_otherwise(int64_t layer) const {
    return other_rope && other_rope_layers[static_cast<size_t>(layer)];
  }
  // FFN columns that a token meets in this layer.
  int64_t active_ffn(int64_t layer) const {
    return has_experts(layer) ? experts.chosen * experts.ffn : ffn;
  }
};

}  // namespace dinfer
