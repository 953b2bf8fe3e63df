#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "tests/unit/checkpoint/config_support.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::config_of;
using test::expect_gemma3;
using test::kModels;
using test::llama;
using test::model_error;
using test::other;

TEST(GemmaConfig, ReadsTheKeysOfTransformers4And5Alike) {
  const ModelConfig v5 = read_model_config({kModels / "hf/gemma3", false});
  Json json = parse_json(read_text_file(kModels / "hf/gemma3/config.json", 1 << 20), "config",
                         ExitCode::model_files);
  json.erase("rope_parameters");
  json.update({{"rope_theta", 1e6},
               {"rope_local_base_freq", 1e4},
               {"rope_scaling", {{"rope_type", "linear"}, {"factor", 8.0}}}});
  for (const ModelConfig& config : {v5, config_of(json)}) {
    expect_gemma3(config);
    EXPECT_EQ(config.norm_offset, 1.0f);
    EXPECT_EQ(config.score_divisor, 24);
    EXPECT_EQ(config.rope.type, RopeType::linear);
    EXPECT_EQ(config.rope.theta, 1e6);
    EXPECT_EQ(config.rope.factor, 8.0);
    EXPECT_EQ(config.window, (std::vector<int64_t>{16, 16, 0, 16, 0}));
    EXPECT_EQ(config.eos, (std::vector<int32_t>{1, 5}));
  }
}

// gemma-3-4b-it's config.json says no more of its language model than this.
TEST(GemmaConfig, ReadsTheTextPartOfAModelForImages) {
  const Json text = {{"hidden_size", 2560},
                     {"intermediate_size", 10240},
                     {"model_type", "gemma3_text"},
                     {"num_hidden_layers", 34},
                     {"rope_scaling", {{"factor", 8.0}, {"rope_type", "linear"}}},
                     {"sliding_window", 1024}};
  const Json whole = {{"architectures", {"Gemma3ForConditionalGeneration"}},
                      {"eos_token_id", {1, 106}},
                      {"text_config", text},
                      {"vision_config", {{"hidden_size", 1152}}}};
  const ModelConfig config = config_of(whole);
  expect_gemma3(config);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 256);
  EXPECT_EQ(config.vocab, 262208);
  EXPECT_EQ(config.max_position, 131072);
  EXPECT_EQ(config.score_divisor, 256);
  EXPECT_EQ(config.rope.theta, 1e6);
  EXPECT_EQ(config.rope.factor, 8.0);
  EXPECT_EQ(config.eos, (std::vector<int32_t>{1, 106}));
  EXPECT_EQ(std::ranges::count(config.window, 1024), 29);
  for (const size_t full : {5, 11, 17, 23, 29}) EXPECT_EQ(config.window[full], 0);
  EXPECT_NE(model_error([] {
              config_of({{"architectures", {"Gemma3ForConditionalGeneration"}}});
            }).find("no \"text_config\""),
            std::string::npos);
}

TEST(GemmaConfig, TheFirstGenerationHasNoPostNorms) {
  const ModelConfig config =
      config_of(other("GemmaForCausalLM", {{"head_dim", 256}, {"hidden_act", "gelu"}}));
  EXPECT_EQ(config.norm_offset, 1.0f);
  EXPECT_EQ(config.embedding_scale, 8.0f);
  EXPECT_EQ(config.activation, Activation::gelu_tanh);
  EXPECT_TRUE(config.tied_head);
  EXPECT_FALSE(config.post_norms || config.qk_norm || config.other_rope);
}

TEST(GemmaConfig, RefusesWhatItDoesNotCompute) {
  const auto error = [](const Json& more) {
    return model_error([&] { config_of(other("Gemma3ForCausalLM", more)); });
  };
  EXPECT_EQ(error({{"final_logit_softcapping", nullptr}}), "");
  EXPECT_NE(error({{"final_logit_softcapping", 30.0}}).find("final_logit_softcapping"),
            std::string::npos);
  EXPECT_NE(error({{"attn_logit_softcapping", 50.0}}).find("attn_logit_softcapping"),
            std::string::npos);
  EXPECT_NE(error({{"use_bidirectional_attention", true}}).find("use_bidirectional_attention"),
            std::string::npos);
  EXPECT_NE(
      error({{"rope_parameters", {{"sliding_attention", {{"rope_type", "yarn"}}}}}}).find("yarn"),
      std::string::npos);
  EXPECT_NE(error({{"query_pre_attn_scalar", 0}}).find("query_pre_attn_scalar"), std::string::npos);
  EXPECT_NE(model_error([] { config_of(other("Gemma2ForCausalLM")); }).find("Gemma2ForCausalLM"),
            std::string::npos);
}

TEST(GraniteConfig, TheResidualStreamIsKeptDividedByItsScale) {
  const ModelConfig plain = config_of(other("GraniteForCausalLM"));
  EXPECT_EQ(plain.embedding_scale, 1.0f);
  EXPECT_EQ(plain.score_divisor, 1);
  EXPECT_EQ(plain.logit_scale, 1.0f);
  const ModelConfig config = config_of(other("GraniteForCausalLM", {{"embedding_multiplier", 12.0},
                                                                    {"residual_multiplier", 0.25},
                                                                    {"attention_multiplier", 0.125},
                                                                    {"logits_scaling", 8.0}}));
  EXPECT_EQ(config.embedding_scale, 48.0f);
  EXPECT_DOUBLE_EQ(config.norm_epsilon, 16e-5);
  EXPECT_EQ(config.score_divisor, 64);
  EXPECT_EQ(config.logit_scale, 0.125f);
  EXPECT_NE(model_error([] {
              config_of(other("GraniteForCausalLM", {{"residual_multiplier", 0}}));
            }).find("residual_multiplier"),
            std::string::npos);
}

TEST(SmolLm3Config, OneLayerInSoManyDoesNotRotate) {
  const ModelConfig usual = config_of(other("SmolLM3ForCausalLM"));
  EXPECT_EQ(usual.other_rope->type, RopeType::still);
  EXPECT_EQ(usual.other_rope_layers, (std::vector<bool>{false, false, false, true}));
  EXPECT_TRUE(usual.tied_head);
  const auto layers = [](const Json& more) {
    return config_of(other("SmolLM3ForCausalLM", more)).other_rope_layers;
  };
  EXPECT_EQ(layers({{"no_rope_layer_interval", 2}}), (std::vector<bool>{false, true, false, true}));
  EXPECT_EQ(layers({{"no_rope_layers", {0, 1, 1, 0}}}),
            (std::vector<bool>{true, false, false, true}));
  EXPECT_NE(model_error([&] {
              layers({{"no_rope_layers", {0, 1}}});
            }).find("2 no_rope_layers for 4"),
            std::string::npos);
  const Json windows = {{"use_sliding_window", true}, {"sliding_window", 16}};
  EXPECT_EQ(config_of(other("SmolLM3ForCausalLM", windows)).window,
            (std::vector<int64_t>{0, 0, 0, 16}));
}

TEST(Mistral3Config, ReadsTheTextPartOfAModelForImages) {
  Json text = llama();
  text.erase("architectures");
  text.update({{"model_type", "mistral"}, {"head_dim", 32}, {"sliding_window", nullptr}});
  Json whole = {{"architectures", {"Mistral3ForConditionalGeneration"}}, {"text_config", text}};
  const ModelConfig config = config_of(whole);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.window, std::vector<int64_t>(4, 0));
  whole["text_config"]["model_type"] = "ministral3";
  EXPECT_NE(model_error([&] { config_of(whole); }).find("ministral3"), std::string::npos);
}

}  // namespace
}  // namespace dinfer
