#pragma once

#include <cstdint>

#include "checkpoint/model_config.h"

namespace dinfer::test {

// A Llama of so many small layers.
inline ModelConfig small_model(int64_t layers) {
  ModelConfig config;
  config.hidden = 64;
  config.layers = layers;
  config.heads = 4;
  config.kv_heads = 2;
  config.head_dim = 16;
  config.ffn = 96;
  config.vocab = 80;
  return config;
}

}  // namespace dinfer::test
