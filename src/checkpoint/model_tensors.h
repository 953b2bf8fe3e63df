#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace dinfer {

// A tensor that a model has, under Hugging Face's name: {rows, columns} of a matrix, {size} of a
// norm or a bias.
struct ModelTensor {
  std::string name;
  std::vector<int64_t> shape;

  bool is_matrix() const { return shape.size() == 2; }
};

// Of a layer's norm before its MLP: where there are post-norms, the usual name is one of theirs.
const char* mlp_norm_name(const ModelConfig& config);

// The linear modules of a gated MLP, under Hugging Face's names. Gate and up are one module where
// they are fused.
struct MlpModules {
  std::string gate, up, down;
};

// Of each of the layer's experts, or of its dense MLP alone.
std::vector<MlpModules> mlp_modules(const ModelConfig& config, int64_t layer);

// That of the scores by which a layer with experts chooses.
std::string router_module(const ModelConfig& config, int64_t layer);

// Every tensor that this config needs, in the order of their use: what the loader asks for.
std::vector<ModelTensor> model_tensors(const ModelConfig& config);

}  // namespace dinfer
