#include "model/weights.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "checkpoint/model_files.h"
#include "tests/support/reference_device.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/model/run_model.h"

namespace dinfer {
namespace {

using test::tiny_checkpoint;
using test::tiny_config;

// The f32 bytes of a rank's matrices, by hand.
uint64_t slice_bytes(const ModelConfig& c, const Shard& s) {
  const int64_t qkv = (s.heads.size() + 2 * s.kv_heads.size()) * c.head_dim * c.hidden;
  const int64_t output = s.heads.size() * c.head_dim * c.hidden;
  const int64_t mlp = 3 * s.ffn.size() * c.hidden;
  const int64_t vocabulary = (c.tied_head ? 1 : 2) * s.vocab.size() * c.hidden;
  return static_cast<uint64_t>(c.layers * (qkv + output + mlp) + vocabulary) * sizeof(float);
}

// Rows long enough that a cut through them is worth reads of its own.
ModelConfig wide_config() {
  ModelConfig config = tiny_config();
  config.layers = 1;
  config.hidden = 8;
  config.head_dim = 4096;
  config.ffn = 16384;
  return config;
}

TEST(Weights, ARankReadsItsSlicesAndNothingElse) {
  const ModelConfig config = wide_config();
  const auto checkpoint = tiny_checkpoint(config, 1);
  uint64_t before = 0;
  for (const Shard& shard : tensor_parallel(config, 4, 32).shards) {
    const auto device = make_reference_device();
    load_weights(*checkpoint, config, shard, {}, *device);
    const uint64_t norms = static_cast<uint64_t>((2 * config.layers + 1) * config.hidden) * 4;
    EXPECT_EQ(checkpoint->bytes_read() - before, slice_bytes(config, shard) + norms);
    before = checkpoint->bytes_read();
    EXPECT_EQ(bytes_to_load(*checkpoint, config, shard), slice_bytes(config, shard));
    EXPECT_EQ(planned_weight_bytes(*checkpoint, config, shard, {}).all(),
              slice_bytes(config, shard));
  }
}

TEST(Weights, ProgressRisesToItsTotal) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 1);
  const auto device = make_reference_device();
  const Shard shard = tensor_parallel(config, 2, 32).shards[1];
  uint64_t last = 0;
  load_weights(*checkpoint, config, shard, {}, *device, [&](uint64_t done, uint64_t total) {
    EXPECT_GT(done, last);
    EXPECT_EQ(total, bytes_to_load(*checkpoint, config, shard));
    last = done;
  });
  EXPECT_EQ(last, bytes_to_load(*checkpoint, config, shard));
}

TEST(Weights, ATiedHeadIsTheEmbedding) {
  ModelConfig config = tiny_config();
  const auto device = make_reference_device();
  const Shard shard = tensor_parallel(config, 1, 32).shards[0];
  const auto untied = tiny_checkpoint(config, 1);
  const ModelWeights two = load_weights(*untied, config, shard, {}, *device);
  EXPECT_NE(two.head, two.embedding);
  EXPECT_EQ(two.bytes(), slice_bytes(config, shard));
  EXPECT_EQ(two.bytes_per_step().always, two.bytes() - two.embedding->bytes());

  config.tied_head = true;
  const ModelWeights one = load_weights(*untied, config, shard, {}, *device);
  EXPECT_EQ(one.head, one.embedding);
  EXPECT_EQ(one.bytes(), slice_bytes(config, shard));
  EXPECT_EQ(one.bytes_per_step().always, one.bytes());
  EXPECT_EQ(one.bytes_per_step().experts, 0u);
}

TEST(Weights, QuantisedModelsArePlannedByTheirBits) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 1);
  const Shard shard = tensor_parallel(config, 1, 32).shards[0];
  const double vocabulary = 2.0 * 80 * 64;
  const double elements = static_cast<double>(slice_bytes(config, shard)) / 4;
  const auto planned_bytes = [&](const QuantChoice& quant) {
    return planned_weight_bytes(*checkpoint, config, shard, quant).all();
  };
  const double bits8 = 8 + 16.0 / 32;
  const double bits4 = 4 + 32.0 / 32;
  EXPECT_EQ(planned_bytes(QuantSpec{.bits = 8, .group = 32}),
            static_cast<uint64_t>(elements * bits8 / 8));
  EXPECT_EQ(planned_bytes(QuantSpec{.bits = 4, .group = 32}),
            static_cast<uint64_t>((vocabulary * bits8 + (elements - vocabulary) * bits4) / 8));
  EXPECT_EQ(random_weight_bytes(config, shard, QuantSpec{.bits = 4, .group = 32}).all(),
            planned_bytes(QuantSpec{.bits = 4, .group = 32}));
  EXPECT_EQ(random_weight_bytes(config, shard, {}).all(), static_cast<uint64_t>(2 * elements));
}

// What the files hold in groups keeps them, with f16 scales or with f32 scales and minimums; FP8
// becomes f16.
TEST(Weights, PackedModelsArePlannedByWhatTheyBecome) {
  const std::pair<const char*, double> models[] = {
      {"gptq-sym-g128", 4 + 16.0 / 128}, {"gptq-asym-g32", 4 + 64.0 / 32}, {"gptq-act-g32", 16},
      {"awq-g128", 4 + 64.0 / 128},      {"ct-int4-g32", 4 + 16.0 / 32},   {"fp8-block", 16}};
  for (const auto& [name, bits] : models) {
    const ModelFiles files{std::string(DINFER_SOURCE_DIR "/tests/golden/models/quant/") + name,
                           false};
    const auto checkpoint = open_checkpoint(files);
    const ModelConfig config = read_model_config(files);
    const Shard shard = tensor_parallel(config, 1, 32).shards[0];
    const double vocabulary =
        static_cast<double>((config.tied_head ? 1 : 2) * config.vocab * config.hidden);
    const double layers = static_cast<double>(slice_bytes(config, shard)) / 4 - vocabulary;
    EXPECT_EQ(planned_weight_bytes(*checkpoint, config, shard, {}).always,
              static_cast<uint64_t>(layers * bits / 8 + vocabulary * 2))
        << name;
    const auto device = make_reference_device();
    uint64_t last = 0;
    load_weights(*checkpoint, config, shard, {}, *device, [&](uint64_t done, uint64_t total) {
      EXPECT_GT(done, last);
      EXPECT_EQ(total, bytes_to_load(*checkpoint, config, shard));
      last = done;
    });
    EXPECT_EQ(last, bytes_to_load(*checkpoint, config, shard)) << name;
  }
}

// 144 columns are no multiple of 32, but of 16; 8 bits change little, 4 bits more.
TEST(Weights, QuantisationFallsBackToASmallerGroup) {
  ModelConfig config = tiny_config();
  config.hidden = 144;
  const auto checkpoint = tiny_checkpoint(config, 1);
  const std::vector<int32_t> prompt{3, 14, 15, 9, 26, 5};
  const std::vector<float> exact = test::logits_of(*checkpoint, config, prompt);
  auto error_at = [&](int bits) {
    return test::relative_error(
        test::logits_of(*checkpoint, config, prompt, {.quant = {.bits = bits, .group = 64}}),
        exact);
  };
  EXPECT_GT(error_at(8), 1e-4);
  EXPECT_LT(error_at(8), 0.03);
  EXPECT_GT(error_at(4), error_at(8));
  EXPECT_LT(error_at(4), 0.4);
}

TEST(Weights, ExpertsAreQuantisedAndTheirRouterIsNot) {
  const ModelConfig config = test::tiny_experts(1);
  const auto checkpoint = tiny_checkpoint(config, 1);
  const Shard shard = tensor_parallel(config, 2, 16).shards[1];
  const auto device = make_reference_device();
  const QuantSpec quant{.bits = 8, .group = 16};
  const ModelWeights weights = load_weights(*checkpoint, config, shard, quant, *device);
  EXPECT_FALSE(weights.layers[0].router);
  const LayerWeights& layer = weights.layers[1];
  const int64_t ffn = shard.expert_ffn.size();
  EXPECT_EQ(ffn, 48 - 16);
  EXPECT_EQ(layer.gate_up->rows(), 5 * 2 * ffn);
  EXPECT_EQ(layer.down->rows(), 5 * config.hidden);
  EXPECT_EQ(layer.down->columns(), ffn);

  const WeightBytes plain = planned_weight_bytes(*checkpoint, config, shard, {});
  const WeightBytes quantised = planned_weight_bytes(*checkpoint, config, shard, quant);
  const auto elements = static_cast<uint64_t>(2 * 5 * 3 * ffn * config.hidden);
  EXPECT_EQ(plain.experts, 4 * elements);
  EXPECT_EQ(quantised.experts, elements + 2 * elements / 16);
  EXPECT_EQ(weights.bytes_per_step().experts, 4 * elements) << "f32 on the reference device";
  const auto router = static_cast<uint64_t>(2 * 5 * config.hidden);
  ModelConfig without = config;
  without.experts = {};
  without.layers = 1;
  const Shard first = tensor_parallel(without, 2, 16).shards[1];
  Shard attention = first;
  attention.units = {{unit::attention(0), unit::attention(0) + 1}};
  const uint64_t two_attentions =
      2 * planned_weight_bytes(*checkpoint, without, attention, quant).always;
  EXPECT_EQ(quantised.always, planned_weight_bytes(*checkpoint, without, first, quant).always +
                                  two_attentions + 4 * router);
}

TEST(Weights, AStepReadsTheExpertsThatItsRowsChoose) {
  const ExpertConfig experts{.count = 8, .chosen = 2};
  const WeightBytes bytes{.always = 100, .experts = 800};
  EXPECT_EQ(bytes.read_by(1, experts), 100 + 200);
  EXPECT_EQ(bytes.read_by(2, experts), 100 + 800 * (1 - 0.75 * 0.75));
  EXPECT_NEAR(bytes.read_by(1000, experts), 900, 1e-6);
  EXPECT_EQ((WeightBytes{.always = 100}.read_by(5, {})), 100);
}

TEST(Weights, AModuleMayHaveAQuantisationOfItsOwn) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 1);
  const Shard shard = tensor_parallel(config, 1, 32).shards[0];
  QuantChoice choice{QuantSpec{.bits = 8, .group = 32}};
  const uint64_t all8 = planned_weight_bytes(*checkpoint, config, shard, choice).all();
  choice.modules["model.layers.0.mlp.down_proj"] = {};
  const uint64_t down = static_cast<uint64_t>(config.hidden * config.ffn);
  const uint64_t plain = planned_weight_bytes(*checkpoint, config, shard, choice).all();
  EXPECT_EQ(plain, all8 - down * 17 / 16 + down * sizeof(float));

  // Named, the embedding gets the bits asked for.
  choice.modules["model.embed_tokens"] = {.bits = 4, .group = 32};
  const uint64_t embedding = static_cast<uint64_t>(config.vocab * config.hidden);
  EXPECT_EQ(planned_weight_bytes(*checkpoint, config, shard, choice).all(),
            plain - embedding * 17 / 16 + embedding * 5 / 8);
}

TEST(Weights, ColumnsThatNoGroupDividesStayPlain) {
  ModelConfig config = tiny_config();
  config.hidden = 72;
  config.ffn = 120;
  config.head_dim = 6;
  const auto checkpoint = tiny_checkpoint(config, 1);
  const Shard shard = tensor_parallel(config, 1, 32).shards[0];
  const std::vector<int32_t> prompt{3, 14, 15, 9};
  const QuantSpec asked{.bits = 8, .group = 32};
  EXPECT_EQ(planned_weight_bytes(*checkpoint, config, shard, asked).all(),
            slice_bytes(config, shard));
  EXPECT_EQ(test::logits_of(*checkpoint, config, prompt, {.quant = {.bits = 4, .group = 32}}),
            test::logits_of(*checkpoint, config, prompt));
}

TEST(Weights, RandomWeightsKeepActivationsFinite) {
  ModelConfig config = tiny_config();
  config.layers = 6;
  config.window.assign(6, 0);
  config.qkv_bias = config.qk_norm = true;
  for (int bits : {0, 8, 4}) {
    test::spawn(2, [&](Communicator& group) {
      const auto device = make_reference_device();
      const Shard shard = tensor_parallel(config, 2, 32).shards[static_cast<size_t>(group.rank())];
      Transformer model(
          *device, {group, group, {{.units = {0, unit::count(config.layers)}}}}, config, shard,
          random_weights(config, shard, QuantSpec{.bits = bits, .group = 32}, *device, 3),
          KvCache(*device, config, shard, device->kv_type(), 16, 2),
          {.rows = 20, .logit_rows = 20, .positions = 20});
      const std::vector<int32_t> tokens(20, 5), blocks{1, 0};
      const std::vector<int64_t> rows{0, 19};
      const SequenceChunk chunk{.tokens = 20, .blocks = blocks};
      const int64_t limit = 20;
      const Tensor logits = model.forward({.tokens = tokens,
                                           .chunks = {&chunk, 1},
                                           .length_limits = {&limit, 1},
                                           .logit_rows = rows});
      double squares = 0;
      for (int64_t i = 0; i < 2 * logits.columns; ++i) squares += std::pow(logits.data[i], 2);
      const double deviation = std::sqrt(squares / static_cast<double>(2 * logits.columns));
      EXPECT_GT(deviation, 0.1) << bits << " bits";
      EXPECT_LT(deviation, 10.0) << bits << " bits";
    });
  }
}

}  // namespace
}  // namespace dinfer
