#include <gtest/gtest.h>

#include "base/file.h"
#include "tests/unit/checkpoint/config_support.h"
#include "tests/unit/checkpoint/model_bytes.h"

namespace dinfer {
namespace {

using namespace std::string_view_literals;
using test::config_of;
using test::expect_gemma3;
using test::GgufBytes;
using test::kModels;
using test::model_error;
using test::TemporaryDirectory;

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
