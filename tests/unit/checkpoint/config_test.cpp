#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/file.h"
#include "base/json.h"
#include "checkpoint/model_files.h"
#include "tests/support/temporary_directory.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using namespace std::string_view_literals;
using test::GgufBytes;
using test::kModels;
using test::model_error;
using test::TemporaryDirectory;

// Reads the config of a directory that holds only this config.json.
ModelConfig config_of(const Json& json) {
  TemporaryDirectory directory;
  directory.write("config.json", json.dump());
  return read_model_config({directory.path(), false});
}

Json llama() {
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

Json with(Json json, const Json& more) {
  json.update(more);
  return json;
}

Json other(const char* architecture, const Json& more = Json::object()) {
  return with(with(llama(), {{"architectures", {architecture}}}), more);
}

TEST(HuggingFaceConfig, ReadsSizes) {
  const ModelConfig config = read_model_config({kModels / "hf/qwen3-sharded", false});
  EXPECT_EQ(config.hidden, 64);
  EXPECT_EQ(config.layers, 3);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kv_heads, 2);
  EXPECT_EQ(config.head_dim, 32);
  EXPECT_EQ(config.ffn, 128);
  EXPECT_EQ(config.vocab, 528);
  EXPECT_EQ(config.max_position, 512);
  EXPECT_EQ(config.norm_epsilon, 1e-6);
  EXPECT_EQ(config.rope.theta, 1e6);
  EXPECT_TRUE(config.qk_norm);
  EXPECT_FALSE(config.tied_head);
  EXPECT_EQ(config.eos, (std::vector<int32_t>{521, 519}));
  EXPECT_EQ(config.bos, -1);
}

TEST(HuggingFaceConfig, ReadsTheKeysOfTransformers4And5Alike) {
  const ModelConfig v4 = config_of(with(llama(), {{"rope_theta", 5e5},
                                                  {"rope_scaling",
                                                   {{"rope_type", "llama3"},
                                                    {"factor", 8.0},
                                                    {"low_freq_factor", 1.0},
                                                    {"high_freq_factor", 4.0},
                                                    {"original_max_position_embeddings", 64}}}}));
  const ModelConfig v5 = config_of(with(llama(), {{"rope_parameters",
                                                   {{"rope_type", "llama3"},
                                                    {"rope_theta", 5e5},
                                                    {"factor", 8.0},
                                                    {"low_freq_factor", 1.0},
                                                    {"high_freq_factor", 4.0},
                                                    {"original_max_position_embeddings", 64}}}}));
  for (const ModelConfig& config : {v4, v5}) {
    EXPECT_EQ(config.rope.type, RopeType::llama3);
    EXPECT_EQ(config.rope.theta, 5e5);
    EXPECT_EQ(config.rope.factor, 8.0);
    EXPECT_EQ(config.rope.original_max_position, 64);
  }
}

TEST(HuggingFaceConfig, KnowsWhatEachArchitectureFixes) {
  const ModelConfig llama_config = config_of(llama());
  EXPECT_EQ(llama_config.head_dim, 16);
  EXPECT_FALSE(llama_config.qkv_bias || llama_config.qk_norm || llama_config.fused_qkv);
  const ModelConfig biased =
      config_of(with(llama(), {{"attention_bias", true}, {"mlp_bias", true}}));
  EXPECT_TRUE(biased.qkv_bias && biased.output_bias && biased.mlp_bias);
  const ModelConfig qwen2 = config_of(other("Qwen2ForCausalLM"));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias);
  const ModelConfig qwen3 = config_of(other("Qwen3ForCausalLM"));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_EQ(qwen3.head_dim, 128);
  const ModelConfig phi3 = config_of(other("Phi3ForCausalLM", {{"num_key_value_heads", nullptr}}));
  EXPECT_TRUE(phi3.fused_qkv && phi3.fused_gate_up);
  EXPECT_EQ(phi3.kv_heads, 4);
}

TEST(HuggingFaceConfig, HeadSizeMayBeNull) {
  EXPECT_EQ(config_of(with(llama(), {{"head_dim", nullptr}})).head_dim, 16);
  EXPECT_EQ(config_of(with(llama(), {{"head_dim", 32}})).head_dim, 32);
}

TEST(HuggingFaceConfig, GivesEachLayerItsWindow) {
  using Windows = std::vector<int64_t>;
  EXPECT_EQ(config_of(llama()).window, Windows(4, 0));
  EXPECT_EQ(read_model_config({kModels / "hf/mistral-swa", false}).window, Windows(3, 16));
  EXPECT_EQ(config_of(other("MistralForCausalLM")).window, Windows(4, 4096));
  EXPECT_EQ(config_of(other("MistralForCausalLM", {{"sliding_window", nullptr}})).window,
            Windows(4, 0));
  EXPECT_EQ(config_of(other("Phi3ForCausalLM", {{"sliding_window", 2047}})).window,
            Windows(4, 2047));
  EXPECT_EQ(config_of(with(llama(), {{"sliding_window", 64}})).window, Windows(4, 0))
      << "no key of LlamaConfig";
  const Json qwen = other("Qwen2ForCausalLM", {{"sliding_window", 64}, {"max_window_layers", 2}});
  EXPECT_EQ(config_of(qwen).window, Windows(4, 0));
  EXPECT_EQ(config_of(with(qwen, {{"use_sliding_window", true}})).window, (Windows{0, 0, 64, 64}));
  const Json moe = other("Qwen3MoeForCausalLM", {{"sliding_window", 64}});
  EXPECT_EQ(config_of(moe).window, Windows(4, 0));
  EXPECT_EQ(config_of(with(moe, {{"use_sliding_window", true}})).window, Windows(4, 64));
  const Json types = {"sliding_attention", "full_attention", "full_attention", "sliding_attention"};
  EXPECT_EQ(config_of(with(qwen, {{"use_sliding_window", true}, {"layer_types", types}})).window,
            (Windows{64, 0, 0, 64}));
  EXPECT_EQ(config_of(with(qwen, {{"layer_types", types}})).window, Windows(4, 0));
}

TEST(HuggingFaceConfig, ReadsEveryRopeScaling) {
  const auto rope = [](const Json& scaling, const Json& more = Json::object()) {
    return config_of(with(with(llama(), {{"rope_scaling", scaling}}), more)).rope;
  };
  EXPECT_EQ(rope(nullptr).type, RopeType::none);
  EXPECT_EQ(rope({{"type", "linear"}, {"factor", 2.5}}).factor, 2.5);
  EXPECT_EQ(rope({{"type", "dynamic"}, {"factor", 2}}).type, RopeType::dynamic);
  const RopeConfig yarn = rope({{"rope_type", "yarn"},
                                {"factor", 4.0},
                                {"beta_fast", 16},
                                {"attention_factor", 1.25},
                                {"truncate", false}});
  EXPECT_EQ(yarn.type, RopeType::yarn);
  EXPECT_EQ(yarn.beta_fast, 16);
  EXPECT_EQ(yarn.attention_factor, 1.25);
  EXPECT_FALSE(yarn.truncate);
  const Json factors = {1, 2, 3, 4, 5, 6, 7, 8};
  const RopeConfig longrope =
      rope({{"type", "su"}, {"short_factor", factors}, {"long_factor", factors}},
           {{"original_max_position_embeddings", 1024}});
  EXPECT_EQ(longrope.type, RopeType::longrope);
  EXPECT_EQ(longrope.factor, 4.0);
  EXPECT_EQ(longrope.long_factor[7], 8.0);
}

TEST(HuggingFaceConfig, RotatesPartsOfHeadsWhereTheArchitectureDoes) {
  const Json half = {{"partial_rotary_factor", 0.5}};
  EXPECT_EQ(config_of(other("Phi3ForCausalLM", half)).rope.partial_rotary_factor, 0.5);
  EXPECT_EQ(
      config_of(other("Phi3ForCausalLM", {{"rope_parameters", half}})).rope.partial_rotary_factor,
      0.5);
  for (const Json& config : {with(llama(), half), with(llama(), {{"rope_parameters", half}})}) {
    const std::string error = model_error([&] { config_of(config); });
    EXPECT_NE(error.find("0.5 is not supported for LlamaForCausalLM"), std::string::npos) << error;
  }
}

TEST(HuggingFaceConfig, YarnOnAnUnchangedContextLengthensIt) {
  const ModelConfig config = config_of(
      with(llama(),
           {{"rope_scaling",
             {{"type", "yarn"}, {"factor", 4.0}, {"original_max_position_embeddings", 4096}}}}));
  EXPECT_EQ(config.max_position, 16384);
}

// Their formulas have max_position_embeddings as it was without them.
TEST(HuggingFaceConfig, LinearAndDynamicScalingReachBeyondTheContext) {
  for (const char* type : {"linear", "dynamic"}) {
    const ModelConfig config =
        config_of(with(llama(), {{"rope_scaling", {{"type", type}, {"factor", 2.5}}}}));
    EXPECT_EQ(config.max_position, 4096) << type;
    EXPECT_EQ(config.longest_position, 10240) << type;
  }
  EXPECT_EQ(config_of(llama()).longest_position, 0);
}

TEST(HuggingFaceConfig, MergesTheEndTokensOfBothFiles) {
  TemporaryDirectory directory;
  directory.write("config.json", with(llama(), {{"eos_token_id", 7}, {"bos_token_id", 1}}).dump());
  directory.write("generation_config.json",
                  R"({"eos_token_id":[7,9],"temperature":0.6,"top_k":20,"do_sample":true})");
  const ModelFiles files{directory.path(), false};
  EXPECT_EQ(read_model_config(files).eos, (std::vector<int32_t>{7, 9}));
  const GenerationDefaults defaults = read_generation_defaults(files);
  EXPECT_EQ(defaults.temperature, 0.6);
  EXPECT_EQ(defaults.top_k, 20);
  EXPECT_EQ(defaults.top_p, std::nullopt);
  EXPECT_TRUE(defaults.do_sample);
}

TEST(HuggingFaceConfig, ReadsMixturesOfExperts) {
  const ModelConfig mixtral = read_model_config({kModels / "hf/mixtral", false});
  EXPECT_EQ(mixtral.experts.count, 4);
  EXPECT_EQ(mixtral.experts.chosen, 2);
  EXPECT_EQ(mixtral.experts.ffn, 96);
  EXPECT_TRUE(mixtral.experts.normalized && mixtral.experts.mixtral_names);
  EXPECT_TRUE(mixtral.has_experts(0) && mixtral.has_experts(1));
  EXPECT_EQ(mixtral.window, std::vector<int64_t>(2, 0));
  const ModelConfig qwen = read_model_config({kModels / "hf/qwen3-moe", false});
  EXPECT_EQ(qwen.experts.count, 8);
  EXPECT_EQ(qwen.experts.chosen, 2);
  EXPECT_EQ(qwen.experts.ffn, 48);
  EXPECT_EQ(qwen.ffn, 192);
  EXPECT_TRUE(qwen.experts.normalized && qwen.qk_norm);
  EXPECT_FALSE(qwen.experts.mixtral_names);
  EXPECT_EQ(config_of(llama()).experts.count, 0);
}

TEST(HuggingFaceConfig, LeavesExpertsToTheDefaultsOfTheirArchitecture) {
  const ExpertConfig mixtral = config_of(other("MixtralForCausalLM")).experts;
  EXPECT_EQ(mixtral.count, 8);
  EXPECT_EQ(mixtral.chosen, 2);
  EXPECT_EQ(mixtral.ffn, 96);
  const ExpertConfig qwen = config_of(other("Qwen3MoeForCausalLM")).experts;
  EXPECT_EQ(qwen.count, 128);
  EXPECT_EQ(qwen.chosen, 8);
  EXPECT_EQ(qwen.ffn, 768);
  EXPECT_FALSE(qwen.normalized);
  EXPECT_EQ(config_of(other("Qwen3MoeForCausalLM", {{"num_local_experts", 16}})).experts.count, 16)
      << "as transformers 5 writes it";
}

TEST(HuggingFaceConfig, KnowsWhichLayersHaveExperts) {
  using Layers = std::vector<bool>;
  const auto layers = [](const Json& more) {
    return config_of(other("Qwen3MoeForCausalLM", more)).experts.layers;
  };
  EXPECT_EQ(layers(Json::object()), Layers(4, true));
  EXPECT_EQ(layers({{"decoder_sparse_step", 2}}), (Layers{false, true, false, true}));
  EXPECT_EQ(layers({{"mlp_only_layers", {0, 3}}}), (Layers{false, true, true, false}));
  const ModelConfig none = config_of(other("Qwen3MoeForCausalLM", {{"num_experts", 0}}));
  EXPECT_FALSE(none.has_experts(1));
  EXPECT_EQ(none.active_ffn(1), 96);
  const ModelConfig config = config_of(
      other("Qwen3MoeForCausalLM", {{"mlp_only_layers", {0}}, {"moe_intermediate_size", 40}}));
  EXPECT_EQ(config.active_ffn(0), 96);
  EXPECT_EQ(config.active_ffn(1), 8 * 40);
}

TEST(HuggingFaceConfig, RefusesMixturesThatItDoesNotKnow) {
  const auto error = [](const char* architecture, const Json& more) {
    return model_error([&] { config_of(other(architecture, more)); });
  };
  EXPECT_NE(error("Qwen2MoeForCausalLM", Json::object()).find("Qwen3MoeForCausalLM"),
            std::string::npos);
  EXPECT_NE(error("DeepseekV3ForCausalLM", Json::object()).find("MixtralForCausalLM"),
            std::string::npos);
  EXPECT_NE(error("Qwen3MoeForCausalLM", {{"num_shared_experts", 1}}).find("num_shared_experts"),
            std::string::npos);
  EXPECT_NE(error("MixtralForCausalLM", {{"num_experts_per_tok", 9}}).find("9 experts are chosen"),
            std::string::npos);
  EXPECT_NE(error("MixtralForCausalLM", {{"num_experts_per_tok", 0}}).find("1 to 8 can be"),
            std::string::npos);
  EXPECT_NE(error("MixtralForCausalLM", {{"num_local_experts", 5000}}).find("num_local_experts"),
            std::string::npos);
  EXPECT_NE(error("Qwen3MoeForCausalLM", {{"moe_intermediate_size", 0}}).find("moe_intermediate"),
            std::string::npos);
  EXPECT_NE(error("Qwen3MoeForCausalLM", {{"decoder_sparse_step", 0}}).find("decoder_sparse_step"),
            std::string::npos);
}

TEST(HuggingFaceConfig, RefusesAnUnknownArchitectureAndListsTheKnown) {
  const std::string error = model_error([] { config_of(other("MambaForCausalLM")); });
  EXPECT_NE(error.find("MambaForCausalLM"), std::string::npos) << error;
  EXPECT_NE(error.find("Phi3ForCausalLM"), std::string::npos) << error;
}

TEST(HuggingFaceConfig, NamesTheKeyOfEveryImpossibleValue) {
  const struct {
    const char* key;
    Json value;
  } cases[] = {
      {"hidden_size", 0},
      {"hidden_size", -64},
      {"hidden_size", nullptr},
      {"hidden_size", "64"},
      {"hidden_size", 64.5},
      {"hidden_size", uint64_t{1} << 63},
      {"num_hidden_layers", 1'000'000'000},
      {"num_attention_heads", 0},
      {"num_attention_heads", 7},
      {"num_key_value_heads", 3},
      {"head_dim", 0},
      {"intermediate_size", INT64_MAX},
      {"vocab_size", -1},
      {"max_position_embeddings", 0},
      {"rms_norm_eps", -1e-5},
      {"rms_norm_eps", "x"},
      {"rope_theta", 0},
      {"rope_theta", 1e300},
      {"hidden_act", "tanhexp"},
      {"hidden_act", 3},
      {"tie_word_embeddings", 1},
      {"architectures", Json::array()},
      {"architectures", "LlamaForCausalLM"},
      {"sliding_window", -4},
      {"layer_types", {"full_attention"}},
      {"eos_token_id", {1, "2"}},
      {"eos_token_id", 100},
      {"rope_scaling", {{"type", "mrope"}}},
      {"rope_scaling", {{"type", "linear"}}},
      {"rope_scaling", {{"type", "linear"}, {"factor", 0}}},
      {"rope_scaling", "linear"},
      {"partial_rotary_factor", 2},
  };
  for (const auto& [key, value] : cases) {
    const std::string error = model_error([&] { config_of(with(llama(), {{key, value}})); });
    EXPECT_NE(error.find("config.json"), std::string::npos) << key << " " << value << ": " << error;
  }
  // Heads, pairs and factors that do not fit each other.
  const auto error = [](const Json& more) {
    return model_error([&] { config_of(with(llama(), more)); });
  };
  EXPECT_NE(error({{"num_key_value_heads", 3}}).find("no multiple of 3"), std::string::npos);
  EXPECT_NE(error({{"head_dim", 15}}).find("must be even"), std::string::npos);
  EXPECT_NE(
      error({{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1}}, {"long_factor", {1}}}}})
          .find("8 rotated pairs"),
      std::string::npos);
}

// What every Gemma 3 has, as read from any file.
void expect_gemma3(const ModelConfig& config) {
  EXPECT_TRUE(config.post_norms && config.qk_norm && config.tied_head);
  EXPECT_EQ(config.activation, Activation::gelu_tanh);
  EXPECT_FLOAT_EQ(config.embedding_scale, std::sqrt(static_cast<float>(config.hidden)));
  ASSERT_TRUE(config.other_rope);
  EXPECT_EQ(config.other_rope->type, RopeType::none);
  EXPECT_EQ(config.other_rope->theta, 1e4);
}

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

// The GGUF files carry, in golden.json, the config.json that they were made from.
TEST(GgufConfig, AgreesWithTheConfigJsonOfTheSameModel) {
  const std::pair<const char*, const char*> models[] = {
      {"llama-4h", "Q4_0"}, {"qwen2-tied", "F16"}, {"qwen3", "Q8_0"},   {"llama-rope3", "F16"},
      {"llama-k", "Q4_K"},  {"gemma3", "BF16"},    {"granite", "BF16"}, {"smollm3", "BF16"}};
  for (const auto& [model, type] : models) {
    const auto directory = kModels / "gguf" / model;
    const Json golden = parse_json(read_text_file(directory / "golden.json", 1 << 20), "golden",
                                   ExitCode::model_files);
    const ModelConfig expected = config_of(golden.at("config"));
    const ModelFiles files{directory / fmt::format("{}-{}.gguf", model, type), true};
    const ModelConfig config = read_model_config(files);
    SCOPED_TRACE(model);
    EXPECT_EQ(config.hidden, expected.hidden);
    EXPECT_EQ(config.layers, expected.layers);
    EXPECT_EQ(config.heads, expected.heads);
    EXPECT_EQ(config.kv_heads, expected.kv_heads);
    EXPECT_EQ(config.head_dim, expected.head_dim);
    EXPECT_EQ(config.ffn, expected.ffn);
    EXPECT_EQ(config.vocab, expected.vocab);
    EXPECT_EQ(config.max_position, expected.max_position);
    EXPECT_FLOAT_EQ(config.norm_epsilon, expected.norm_epsilon);
    EXPECT_EQ(config.tied_head, expected.tied_head);
    EXPECT_EQ(config.qkv_bias, expected.qkv_bias);
    EXPECT_EQ(config.output_bias, expected.output_bias);
    EXPECT_EQ(config.qk_norm, expected.qk_norm);
    EXPECT_EQ(config.rope.theta, expected.rope.theta);
    EXPECT_EQ(config.rope.partial_rotary_factor, 1.0);
    EXPECT_EQ(config.window, expected.window);
    EXPECT_EQ(config.post_norms, expected.post_norms);
    EXPECT_EQ(config.activation, expected.activation);
    EXPECT_EQ(config.embedding_scale, expected.embedding_scale);
    EXPECT_EQ(config.other_rope.has_value(), expected.other_rope.has_value());
    EXPECT_EQ(config.norm_offset, 0.0f);
    EXPECT_EQ(config.bos, expected.bos);
    EXPECT_FLOAT_EQ(config.logit_scale, expected.logit_scale);
    EXPECT_FLOAT_EQ(config.score_divisor, model == "gemma3"sv ? 0 : expected.score_divisor);
    EXPECT_EQ(config.other_rope_layers, expected.other_rope_layers);
    const bool rotates_halves =
        model == "qwen3"sv || model == "qwen2-tied"sv || model == "gemma3"sv;
    EXPECT_EQ(config.interleaved_rope, !rotates_halves);
    check_tensors(*open_checkpoint(files), config);
  }
}

TEST(GgufConfig, TakesFrequencyDivisorsFromTheFile) {
  const ModelConfig config =
      read_model_config({kModels / "gguf/llama-rope3/llama-rope3-F16.gguf", true});
  ASSERT_EQ(config.rope.frequency_divisors.size(), 8u);
  EXPECT_EQ(config.rope.frequency_divisors.front(), 1.0);
  EXPECT_EQ(config.rope.frequency_divisors.back(), 8.0);
}

// A model of two layers, the first with a dense MLP.
GgufBytes gguf_experts(const std::string& architecture) {
  GgufBytes bytes;
  const auto key = [&](const char* name) { return architecture + "." + name; };
  bytes.string("general.architecture", architecture).u32(key("embedding_length"), 64);
  bytes.u32(key("block_count"), 2).u32(key("attention.head_count"), 4);
  bytes.u32(key("feed_forward_length"), 96).u32(key("context_length"), 4096);
  bytes.u32(key("expert_count"), 4).u32(key("expert_used_count"), 2);
  bytes.tensor("token_embd.weight", {64, 100}, 2, 0);
  bytes.tensor("blk.0.ffn_down.weight", {32, 2}, 2, 4096);
  return bytes;
}

ModelConfig read_gguf(const GgufBytes& bytes) {
  TemporaryDirectory directory;
  return read_model_config({directory.write("x.gguf", bytes.file(8192)), true});
}

TEST(GgufConfig, ReadsMixturesOfExperts) {
  const ModelConfig mixtral = read_gguf(gguf_experts("llama"));
  EXPECT_EQ(mixtral.experts.count, 4);
  EXPECT_EQ(mixtral.experts.chosen, 2);
  EXPECT_EQ(mixtral.experts.ffn, 96);
  EXPECT_TRUE(mixtral.experts.normalized);
  EXPECT_FALSE(mixtral.has_experts(0));
  EXPECT_TRUE(mixtral.has_experts(1));
  const ModelConfig qwen = read_gguf(gguf_experts("qwen3moe")
                                         .u32("qwen3moe.expert_feed_forward_length", 40)
                                         .u32("qwen3moe.expert_gating_func", 1)
                                         .boolean("qwen3moe.expert_weights_norm", false));
  EXPECT_EQ(qwen.experts.ffn, 40);
  EXPECT_EQ(qwen.ffn, 96);
  EXPECT_FALSE(qwen.experts.normalized);
}

TEST(GgufConfig, RefusesMixturesThatItDoesNotKnow) {
  const auto error = [](const GgufBytes& bytes) { return model_error([&] { read_gguf(bytes); }); };
  EXPECT_NE(error(gguf_experts("qwen2moe")).find("qwen3moe"), std::string::npos);
  EXPECT_NE(error(gguf_experts("qwen2")).find("supported with one are llama, qwen3moe"),
            std::string::npos);
  EXPECT_NE(error(gguf_experts("llama").u32("llama.expert_shared_count", 1)).find("shared_count"),
            std::string::npos);
  EXPECT_NE(error(gguf_experts("llama").u32("llama.expert_gating_func", 2)).find("gating_func"),
            std::string::npos);
  EXPECT_NE(
      error(gguf_experts("llama").f32("llama.expert_weights_scale", 2.5f)).find("weights_scale"),
      std::string::npos);
}

class GgufConfigKeys : public testing::Test {
 protected:
  // A model of one layer with the keys that must be there; `phi3` stands for all architectures.
  static GgufBytes keys() {
    GgufBytes bytes;
    bytes.string("general.architecture", "phi3").u32("phi3.embedding_length", 64);
    bytes.u32("phi3.block_count", 1).u32("phi3.attention.head_count", 4);
    bytes.u32("phi3.feed_forward_length", 96).u32("phi3.context_length", 4096);
    bytes.tensor("token_embd.weight", {64, 100}, 2, 0);
    return bytes;
  }
  static ModelConfig read(const GgufBytes& bytes) {
    TemporaryDirectory directory;
    return read_model_config({directory.write("x.gguf", bytes.file(8192)), true});
  }
};

TEST_F(GgufConfigKeys, HaveDefaults) {
  const ModelConfig config = read(keys());
  EXPECT_EQ(config.kv_heads, 4);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.vocab, 100);
  EXPECT_TRUE(config.tied_head);
  EXPECT_EQ(config.rope.type, RopeType::none);
  EXPECT_TRUE(config.eos.empty());
}

TEST_F(GgufConfigKeys, GiveRopeScalingWindowAndEndTokens) {
  const ModelConfig config = read(keys()
                                      .string("phi3.rope.scaling.type", "yarn")
                                      .f32("phi3.rope.scaling.factor", 4)
                                      .u32("phi3.rope.scaling.original_context_length", 1024)
                                      .u32("phi3.rope.dimension_count", 8)
                                      .u32("phi3.attention.sliding_window", 2047)
                                      .u32("tokenizer.ggml.eos_token_id", 7)
                                      .u32("tokenizer.ggml.eot_token_id", 9));
  EXPECT_EQ(config.rope.type, RopeType::yarn);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.original_max_position, 1024);
  EXPECT_EQ(config.rope.partial_rotary_factor, 0.5);
  EXPECT_EQ(config.window, std::vector<int64_t>{2047});
  EXPECT_EQ(config.eos, (std::vector<int32_t>{7, 9}));
}

// What the files of Gemma 3 leave out follows from the number of layers.
TEST_F(GgufConfigKeys, OfGemma3HaveDefaults) {
  const auto gemma = [](uint32_t layers) {
    GgufBytes bytes;
    bytes.string("general.architecture", "gemma3").u32("gemma3.embedding_length", 5376);
    bytes.u32("gemma3.block_count", layers).u32("gemma3.attention.head_count", 32);
    bytes.u32("gemma3.attention.head_count_kv", 16).u32("gemma3.attention.key_length", 128);
    bytes.u32("gemma3.feed_forward_length", 96).u32("gemma3.context_length", 4096);
    bytes.u32("gemma3.attention.sliding_window", 1024).f32("gemma3.rope.freq_base", 1e6);
    bytes.tensor("token_embd.weight", {5376, 2}, 2, 0);
    return bytes;
  };
  const ModelConfig small = read(gemma(8));
  expect_gemma3(small);
  EXPECT_EQ(small.window, (std::vector<int64_t>{1024, 1024, 1024, 1024, 1024, 0, 1024, 1024}));
  EXPECT_EQ(small.rope.theta, 1e6);
  EXPECT_EQ(small.score_divisor, 0);
  EXPECT_EQ(read(gemma(62)).score_divisor, 168);
  EXPECT_EQ(read(gemma(8).u32("gemma3.attention.sliding_window_pattern", 2)).window[1], 0);
  EXPECT_EQ(read(gemma(8).f32("gemma3.rope.freq_base_swa", 5e4)).other_rope->theta, 5e4);
  EXPECT_NE(model_error([&] {
              read(gemma(8).f32("gemma3.final_logit_softcapping", 30));
            }).find("final_logit_softcapping"),
            std::string::npos);
}

TEST_F(GgufConfigKeys, GiveLongropeByItsTensors) {
  GgufBytes bytes = keys().u32("phi3.rope.scaling.original_context_length", 1024);
  bytes.tensor("rope_factors_long.weight", {8}, 0, 4096);
  bytes.tensor("rope_factors_short.weight", {8}, 0, 4128);
  std::string data(4096, '\0');
  for (int i = 0; i < 16; ++i) test::append_number<float>(data, 1.0f + i);
  TemporaryDirectory directory;
  const ModelConfig config = read_model_config({directory.write("x.gguf", bytes.file(data)), true});
  EXPECT_EQ(config.rope.type, RopeType::longrope);
  EXPECT_EQ(config.rope.factor, 4.0);
  EXPECT_EQ(config.rope.long_factor.front(), 1.0);
  EXPECT_EQ(config.rope.short_factor.front(), 9.0);
}

TEST_F(GgufConfigKeys, AreRefusedWhenImpossible) {
  const auto error = [](const GgufBytes& bytes) { return model_error([&] { read(bytes); }); };
  EXPECT_NE(error(keys().u32("phi3.attention.head_count_kv", 3)).find("no multiple of 3"),
            std::string::npos);
  EXPECT_NE(error(keys().u32("phi3.attention.head_count_kv", 0)).find("head_count_kv"),
            std::string::npos);
  EXPECT_NE(error(keys().u32("phi3.attention.key_length", 15)).find("even"), std::string::npos);
  EXPECT_NE(error(keys().u32("phi3.attention.value_length", 32)).find("values of 32"),
            std::string::npos);
  EXPECT_NE(error(keys().u32("phi3.rope.dimension_count", 17)).find("dimension_count"),
            std::string::npos);
  EXPECT_NE(error(keys().f32("phi3.rope.freq_base", 0)).find("freq_base"), std::string::npos);
  EXPECT_NE(error(keys().u32("phi3.expert_count", 8)).find("experts"), std::string::npos);
  EXPECT_NE(error(keys().u32("tokenizer.ggml.eos_token_id", 100)).find("eos token 100"),
            std::string::npos);
  EXPECT_NE(error(keys().string("phi3.rope.scaling.type", "ntk")).find("ntk"), std::string::npos);
  EXPECT_NE(
      error(GgufBytes().string("general.architecture", "gpt2")).find("llama, qwen2, qwen3, phi3"),
      std::string::npos);
  EXPECT_NE(error(GgufBytes().string("general.architecture", "llama")).find("embedding_length"),
            std::string::npos);
}

}  // namespace
}  // namespace dinfer
