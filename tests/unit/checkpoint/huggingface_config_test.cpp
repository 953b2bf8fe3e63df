#include <gtest/gtest.h>

#include "tests/unit/checkpoint/config_support.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using test::config_of;
using test::kModels;
using test::llama;
using test::model_error;
using test::other;
using test::TemporaryDirectory;
using test::with;

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

}  // namespace
}  // namespace dinfer
