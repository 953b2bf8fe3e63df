#pragma once

#include <gtest/gtest.h>

#include <cmath>

#include "base/json.h"
#include "checkpoint/model_files.h"
#include "tests/support/temporary_directory.h"

namespace dinfer::test {

// Reads the config of a directory that holds only this config.json.
inline ModelConfig config_of(const Json& json) {
  TemporaryDirectory directory;
  directory.write("config.json", json.dump());
  return read_model_config({directory.path(), false});
}

// The least that config.json of a Llama may say; the same with other fields, or of another
// architecture.
inline Json llama() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"hidden_size", 64},
          {"num_hidden_layers", 4},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"intermediate_size", 96},
          {"vocab_size", 100},
          {"max_position_embeddings", 4096},
          {"rms_norm_eps", 1e-5}};
}

inline Json with(Json json, const Json& more) {
  json.update(more);
  return json;
}

inline Json other(const char* architecture, const Json& more = Json::object()) {
  return with(with(llama(), {{"architectures", {architecture}}}), more);
}

// What every Gemma 3 has, as read from any file.
inline void expect_gemma3(const ModelConfig& config) {
  EXPECT_TRUE(config.post_norms && config.qk_norm && config.tied_head);
  EXPECT_EQ(config.activation, Activation::gelu_tanh);
  EXPECT_FLOAT_EQ(config.embedding_scale, std::sqrt(static_cast<float>(config.hidden)));
  ASSERT_TRUE(config.other_rope);
  EXPECT_EQ(config.other_rope->type, RopeType::none);
  EXPECT_EQ(config.other_rope->theta, 1e4);
}

}  // namespace dinfer::test
