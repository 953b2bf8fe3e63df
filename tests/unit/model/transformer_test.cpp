#include "model/transformer.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "checkpoint/model_tensors.h"
#include "tests/support/tiny_model.h"
#include "tests/unit/model/run_model.h"

namespace dinfer {
namespace {

using test::logits_of;
using test::MemoryCheckpoint;
using test::relative_error;
using test::Run;
using test::tiny_checkpoint;
using test::tiny_config;

// Sums over ranks are taken in another order than one rank's: more than that is a defect.
constexpr double kRounding = 1e-5;

std::vector<int32_t> prompt_of(int64_t tokens, int64_t vocab) {
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < tokens; ++i) {
    prompt.push_back(static_cast<int32_t>((7 * i * i + 3 * i + 1) % vocab));
  }
  return prompt;
}

// Every feature at once that does not exclude another.
ModelConfig rich_config(int64_t heads, int64_t kv_heads, int64_t ffn) {
  ModelConfig config = tiny_config();
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.hidden = 96;
  config.ffn = ffn;
  config.vocab = 101;
  config.qkv_bias = config.output_bias = config.mlp_bias = config.qk_norm = true;
  config.window = {0, 5};
  return config;
}

void expect_ranks_agree(const ModelConfig& config, const QuantSpec& quant,
                        const std::vector<int>& sizes) {
  const auto checkpoint = tiny_checkpoint(config, 11);
  const std::vector<int32_t> prompt = prompt_of(21, config.vocab);
  const std::vector<float> one = logits_of(*checkpoint, config, prompt, {.quant = quant});
  for (int ranks : sizes) {
    const std::vector<float> many =
        logits_of(*checkpoint, config, prompt, {.ranks = ranks, .chunk = 8, .quant = quant});
    EXPECT_LT(relative_error(many, one), kRounding) << ranks << " ranks";
  }
}

TEST(Transformer, AnyNumberOfRanksEqualsOne) {
  expect_ranks_agree(rich_config(12, 4, 96), {}, {2, 4, 12});
  expect_ranks_agree(rich_config(6, 3, 128), {}, {3, 6});
}

// With a norm of what each layer adds, and rotations of their own where there is a window.
ModelConfig post_norm_config() {
  ModelConfig config = rich_config(4, 1, 96);
  config.post_norms = true;
  config.embedding_scale = 8.0f;
  config.score_divisor = 24;
  config.activation = Activation::gelu_tanh;
  config.other_rope = RopeConfig{.theta = 100.0};
  config.other_rope_layers = {false, true};
  return config;
}

TEST(Transformer, WhatIsAddedIsNormedWhole) {
  expect_ranks_agree(post_norm_config(), {}, {2, 4});
  expect_ranks_agree(post_norm_config(), {.bits = 8, .group = 32}, {2});
}

TEST(Transformer, NormsLackWhatTheConfigSays) {
  ModelConfig config = post_norm_config();
  const auto whole = tiny_checkpoint(config, 3);
  const std::vector<int32_t> prompt = prompt_of(12, config.vocab);
  MemoryCheckpoint lacking;
  for (const TensorInfo& info : whole->tensors()) {
    std::vector<float> values = whole->values(info.name);
    if (info.name.ends_with("norm.weight"))
      for (float& value : values) value -= 1.0f;
    lacking.add(info.name, info.shape, std::move(values));
  }
  const std::vector<float> expected = logits_of(*whole, config, prompt);
  config.norm_offset = 1.0f;
  EXPECT_LT(relative_error(logits_of(lacking, config, prompt), expected), kRounding);
}

// Each of these features moves the logits: none is read and forgotten.
TEST(Transformer, EveryFeatureOfGemmaCounts) {
  const ModelConfig config = post_norm_config();
  const auto checkpoint = tiny_checkpoint(config, 4);
  const std::vector<int32_t> prompt = prompt_of(12, config.vocab);
  const std::vector<float> expected = logits_of(*checkpoint, config, prompt);
  const auto moved = [&](auto change) {
    ModelConfig changed = config;
    change(changed);
    return relative_error(logits_of(*checkpoint, changed, prompt), expected);
  };
  EXPECT_GT(moved([](ModelConfig& c) { c.post_norms = false; }), 1e-3);
  EXPECT_GT(moved([](ModelConfig& c) { c.embedding_scale = 4.0f; }), 1e-3);
  EXPECT_GT(moved([](ModelConfig& c) { c.score_divisor = 0; }), 1e-3);
  EXPECT_GT(moved([](ModelConfig& c) { c.other_rope.reset(); }), 1e-3);
  EXPECT_GT(moved([](ModelConfig& c) { c.other_rope_layers = {true, false}; }), 1e-3);
}

// A layer that does not rotate heads knows of no order: only that the others came before.
TEST(Transformer, LayersMayLeaveHeadsAsTheyAre) {
  ModelConfig config = rich_config(4, 1, 96);
  config.layers = 1;
  config.window = {0};
  config.other_rope = RopeConfig{.type = RopeType::still};
  const auto checkpoint = tiny_checkpoint(config, 5);
  const auto moved_by_order = [&] {
    const auto last = [&](const std::vector<int32_t>& prompt) {
      const std::vector<float> logits = logits_of(*checkpoint, config, prompt);
      return std::vector<float>(logits.end() - config.vocab, logits.end());
    };
    return relative_error(last({9, 7, 8, 3}), last({7, 8, 9, 3}));
  };
  config.other_rope_layers = {true};
  EXPECT_LT(moved_by_order(), kRounding);
  config.other_rope_layers = {false};
  EXPECT_GT(moved_by_order(), 1e-3);
}

TEST(Transformer, LogitsMayBeScaled) {
  ModelConfig config = rich_config(4, 1, 96);
  const auto checkpoint = tiny_checkpoint(config, 5);
  const std::vector<int32_t> prompt = prompt_of(12, config.vocab);
  std::vector<float> expected = logits_of(*checkpoint, config, prompt);
  for (float& value : expected) value *= 0.125f;
  config.logit_scale = 0.125f;
  EXPECT_LT(relative_error(logits_of(*checkpoint, config, prompt), expected), kRounding);
}

// A group that counts its sums.
class CountingGroup final : public Communicator {
 public:
  explicit CountingGroup(Communicator& group) : group_(group) {}
  int rank() const override { return group_.rank(); }
  int size() const override { return group_.size(); }
  std::string_view transport() const override { return group_.transport(); }
  void all_reduce_sum(std::span<float> values) override {
    ++sums;
    group_.all_reduce_sum(values);
  }
  void all_gather(std::span<const std::byte> in, std::span<std::byte> out) override {
    group_.all_gather(in, out);
  }
  void all_gather_host(std::span<const std::byte> in, std::span<std::byte> out) override {
    group_.all_gather_host(in, out);
  }
  void send(int to, std::span<const std::byte> data) override { group_.send(to, data); }
  void receive(int from, std::span<std::byte> data) override { group_.receive(from, data); }
  void send_host(int to, std::span<const std::byte> data) override { group_.send_host(to, data); }
  void receive_host(int from, std::span<std::byte> data) override {
    group_.receive_host(from, data);
  }

  int sums = 0;

 private:
  Communicator& group_;
};

TEST(Transformer, ALayerTakesTwoSums) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 1);
  const Placement placement = tensor_parallel(config, 2, 32);
  test::spawn(2, [&](Communicator& group) {
    CountingGroup counting(group);
    const Shard& shard = placement.shards[static_cast<size_t>(group.rank())];
    const auto device = make_reference_device();
    Transformer model =
        test::make_model(*device, {counting, counting, placement.stages_of(group.rank())},
                         *checkpoint, config, shard, {}, 4);
    const std::vector<int32_t> tokens{1, 2, 3}, blocks{0};
    const SequenceChunk chunk{.tokens = 3, .blocks = blocks};
    const int64_t length = 3, row = 2;
    model.forward({.tokens = tokens,
                   .chunks = {&chunk, 1},
                   .length_limits = {&length, 1},
                   .logit_rows = {&row, 1}});
    EXPECT_EQ(counting.sums, 1 + 2 * config.layers);
  });
}

TEST(Transformer, AnyOwnersOfUnitsEqualOneRank) {
  ModelConfig config = tiny_config();
  config.layers = 3;
  config.window.assign(3, 0);
  for (const bool tied : {false, true}) {
    config.tied_head = tied;
    const auto checkpoint = tiny_checkpoint(config, 5);
    const auto expected = logits_of(*checkpoint, config, prompt_of(21, config.vocab));
    for (const std::vector<int>& owners : {std::vector{0, 0, 0, 0, 1, 1, 1, 1},
                                           {1, 1, 1, 1, 0, 0, 0, 0},
                                           {0, 1, 0, 1, 0, 1, 0, 1},
                                           {2, 1, 1, 0, 0, 0, 2, 2},
                                           {1, 1, 1, 1, 1, 1, 1, 0}}) {
      const auto staged = logits_of(*checkpoint, config, prompt_of(21, config.vocab),
                                    {.ranks = 3, .chunk = 4, .owners = owners});
      EXPECT_LT(relative_error(staged, expected), kRounding) << testing::PrintToString(owners);
    }
  }
}

TEST(Transformer, KvHeadsReplicatedOverRanksEqualOneRank) {
  expect_ranks_agree(rich_config(9, 3, 96), {}, {3, 9});
  expect_ranks_agree(rich_config(8, 1, 96), {}, {2, 8});
}

TEST(Transformer, UnevenFfnAndVocabularyCutsEqualOneRank) {
  expect_ranks_agree(rich_config(4, 2, 160), {}, {2, 4});
}

TEST(Transformer, ExpertsOnAnyNumberOfRanksEqualOne) {
  for (const int64_t dense : {0, 1}) {
    ModelConfig config = test::tiny_experts(dense);
    expect_ranks_agree(config, {}, {2, 4});
    expect_ranks_agree(config, {.bits = 4, .group = 32}, {2, 4});
    expect_ranks_agree(config, {.bits = 8, .group = 64}, {2});
    config.experts.normalized = false;
    config.experts.mixtral_names = true;
    expect_ranks_agree(config, {}, {4});
  }
}

TEST(Transformer, ExpertsOfAnyOwnersEqualOneRank) {
  const ModelConfig config = test::tiny_experts(1);
  const auto checkpoint = tiny_checkpoint(config, 5);
  const auto expected = logits_of(*checkpoint, config, prompt_of(21, config.vocab));
  for (const std::vector<int>& owners :
       {std::vector{0, 0, 0, 0, 1, 1, 1, 1}, {0, 1, 0, 1, 0, 1, 0, 1}, {2, 1, 1, 0, 0, 0, 2, 2}}) {
    const auto staged = logits_of(*checkpoint, config, prompt_of(21, config.vocab),
                                  {.ranks = 3, .chunk = 4, .owners = owners});
    EXPECT_LT(relative_error(staged, expected), kRounding) << testing::PrintToString(owners);
  }
}

// With equal experts, whose weights add up to 1, a mixture is one of them: a dense MLP.
TEST(Transformer, EqualExpertsAreADenseMlp) {
  const ModelConfig sparse = test::tiny_experts();
  ModelConfig dense = test::tiny_experts(3);
  dense.ffn = sparse.experts.ffn;
  const auto values = tiny_checkpoint(dense, 7);
  MemoryCheckpoint equal;
  for (const TensorInfo& tensor : values->tensors())
    equal.add(tensor.name, tensor.shape, values->values(tensor.name));
  for (int64_t layer = 0; layer < sparse.layers; ++layer) {
    const std::vector<float> scores(static_cast<size_t>(sparse.experts.count * sparse.hidden),
                                    0.5f);
    equal.add(router_module(sparse, layer) + ".weight", {sparse.experts.count, sparse.hidden},
              scores);
    const MlpModules mlp = mlp_modules(dense, layer).front();
    for (const MlpModules& expert : mlp_modules(sparse, layer)) {
      for (const auto& [to, from] :
           {std::pair{expert.gate, mlp.gate}, {expert.up, mlp.up}, {expert.down, mlp.down}}) {
        const TensorInfo* tensor = values->find(from + ".weight");
        equal.add(to + ".weight", tensor->shape, values->values(tensor->name));
      }
    }
  }
  const std::vector<int32_t> prompt = prompt_of(21, dense.vocab);
  EXPECT_LT(relative_error(logits_of(equal, sparse, prompt), logits_of(equal, dense, prompt)),
            kRounding);
}

// Heads of 16 columns cut the output matrix's groups of 32 in two.
TEST(Transformer, CutsInsideQuantisationGroupsEqualOneRank) {
  expect_ranks_agree(rich_config(6, 3, 192), {.bits = 4, .group = 32}, {3, 6});
  expect_ranks_agree(rich_config(6, 3, 192), {.bits = 8, .group = 64}, {3});
}

TEST(Transformer, FusedProjectionsEqualSeparateOnes) {
  ModelConfig config = rich_config(4, 2, 96);
  const auto separate = tiny_checkpoint(config, 5);
  const std::vector<int32_t> prompt = prompt_of(12, config.vocab);
  const std::vector<float> expected = logits_of(*separate, config, prompt);

  MemoryCheckpoint fused;
  auto join = [&](const std::string& layer, const std::string& into,
                  const std::vector<std::string>& parts, const std::string& suffix) {
    std::vector<float> values;
    std::vector<int64_t> shape;
    for (const std::string& part : parts) {
      const TensorInfo& info = *separate->find(layer + part + suffix);
      const std::vector<float>& more = separate->values(info.name);
      values.insert(values.end(), more.begin(), more.end());
      const int64_t rows = shape.empty() ? 0 : shape[0];
      shape = info.shape;
      shape[0] += rows;
    }
    fused.add(layer + into + suffix, shape, values);
  };
  for (const TensorInfo& info : separate->tensors()) {
    fused.add(info.name, info.shape, separate->values(info.name));
  }
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const std::string suffix : {".weight", ".bias"}) {
      join(layer, "self_attn.qkv_proj",
           {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, suffix);
      join(layer, "mlp.gate_up_proj", {"mlp.gate_proj", "mlp.up_proj"}, suffix);
    }
  }
  config.fused_qkv = config.fused_gate_up = true;
  EXPECT_EQ(logits_of(fused, config, prompt), expected);
  EXPECT_LT(relative_error(logits_of(fused, config, prompt, {.ranks = 4}), expected), kRounding);
}

TEST(Transformer, InterleavedRowsAreReorderedAtLoad) {
  ModelConfig config = rich_config(4, 2, 96);
  const auto plain = tiny_checkpoint(config, 6);
  const std::vector<int32_t> prompt = prompt_of(12, config.vocab);
  MemoryCheckpoint interleaved;
  for (const TensorInfo& info : plain->tensors()) {
    std::vector<float> values = plain->values(info.name);
    if (info.name.find("q_proj") != std::string::npos ||
        info.name.find("k_proj") != std::string::npos) {
      const int64_t width = static_cast<int64_t>(values.size()) / info.shape[0];
      for (int64_t row = 0; row < info.shape[0]; ++row) {
        // Row 2i + j of a head holds what the rotation pairs as (i, i + 8).
        const int64_t in_head = row % 16;
        const int64_t from = row - in_head + in_head / 2 + 8 * (in_head % 2);
        std::copy_n(plain->values(info.name).begin() + from * width, width,
                    values.begin() + row * width);
      }
    }
    interleaved.add(info.name, info.shape, values);
  }
  // Norms over a head's dimensions are stored in the rotation's order in either form.
  const std::vector<float> expected = logits_of(*plain, config, prompt);
  config.interleaved_rope = true;
  EXPECT_EQ(logits_of(interleaved, config, prompt), expected);
  EXPECT_LT(relative_error(logits_of(interleaved, config, prompt, {.ranks = 2}), expected),
            kRounding);
}

TEST(Transformer, ChunksOfAnySizeGiveTheSameLogits) {
  const ModelConfig config = rich_config(4, 2, 96);
  const auto checkpoint = tiny_checkpoint(config, 7);
  const std::vector<int32_t> prompt = prompt_of(37, config.vocab);
  const std::vector<float> whole = logits_of(*checkpoint, config, prompt);
  for (int64_t chunk : {1, 5, 16}) {
    EXPECT_LT(relative_error(logits_of(*checkpoint, config, prompt, {.chunk = chunk}), whole),
              kRounding)
        << chunk;
  }
}

// Two sequences side by side, one within and one beyond longrope's original context.
TEST(Transformer, SequencesOfOneStepKeepTheirOwnRotation) {
  ModelConfig config = tiny_config();
  config.rope.type = RopeType::longrope;
  config.rope.original_max_position = 16;
  config.rope.short_factor.assign(8, 1.0);
  config.rope.long_factor = {1, 1.5, 2, 3, 4, 6, 7, 8};
  const auto checkpoint = tiny_checkpoint(config, 8);
  const std::vector<int32_t> prompt = prompt_of(9, config.vocab);

  test::spawn(1, [&](Communicator& group) {
    const auto device = make_reference_device();
    const Shard shard = tensor_parallel(config, 1, 32).shards[0];
    Transformer model =
        test::make_model(*device, {group, group, {{.units = {0, unit::count(config.layers)}}}},
                         *checkpoint, config, shard, {}, 40);
    auto last_logits = [&](const std::vector<int64_t>& limits) {
      std::vector<int32_t> tokens;
      std::vector<SequenceChunk> chunks;
      std::vector<int64_t> rows;
      const std::vector<std::vector<int32_t>> blocks{{1}, {3}};
      for (size_t i = 0; i < limits.size(); ++i) {
        chunks.push_back({.first_row = std::ssize(tokens), .tokens = 9, .blocks = blocks[i]});
        tokens.insert(tokens.end(), prompt.begin(), prompt.end());
        rows.push_back(std::ssize(tokens) - 1);
      }
      const Tensor logits = model.forward(
          {.tokens = tokens, .chunks = chunks, .length_limits = limits, .logit_rows = rows});
      std::vector<std::vector<float>> result;
      for (int64_t i = 0; i < logits.rows; ++i) {
        const float* row = logits.data + i * logits.columns;
        result.emplace_back(row, row + logits.columns);
      }
      return result;
    };
    const std::vector<float> within = last_logits({16})[0];
    const std::vector<float> beyond = last_logits({17})[0];
    EXPECT_GT(relative_error(within, beyond), 1e-3);
    const auto both = last_logits({17, 16});
    EXPECT_EQ(both[0], beyond);
    EXPECT_EQ(both[1], within);
  });
}

TEST(Transformer, AStepWithoutWantedLogitsOnlyFillsTheCache) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 9);
  const std::vector<int32_t> prompt = prompt_of(6, config.vocab);
  const std::vector<float> expected = logits_of(*checkpoint, config, prompt);
  test::spawn(1, [&](Communicator& group) {
    const auto device = make_reference_device();
    const Shard shard = tensor_parallel(config, 1, 32).shards[0];
    Transformer model =
        test::make_model(*device, {group, group, {{.units = {0, unit::count(config.layers)}}}},
                         *checkpoint, config, shard, {}, 16);
    const std::vector<int32_t> blocks{2};
    const int64_t limit = 6;
    const SequenceChunk head{.tokens = 5, .blocks = blocks};
    const Tensor none = model.forward(
        {.tokens = std::span(prompt).first(5), .chunks = {&head, 1}, .length_limits = {&limit, 1}});
    EXPECT_EQ(none.rows, 0);
    const SequenceChunk tail{.tokens = 1, .position = 5, .blocks = blocks};
    const int64_t row = 0;
    const Tensor logits = model.forward({.tokens = std::span(prompt).last(1),
                                         .chunks = {&tail, 1},
                                         .length_limits = {&limit, 1},
                                         .logit_rows = {&row, 1}});
    const std::vector<float> actual(logits.data, logits.data + logits.columns);
    EXPECT_EQ(actual, std::vector<float>(expected.end() - config.vocab, expected.end()));
  });
}

TEST(Transformer, AStepBeyondItsLimitsIsABug) {
  const ModelConfig config = tiny_config();
  const auto checkpoint = tiny_checkpoint(config, 9);
  test::spawn(1, [&](Communicator& group) {
    const auto device = make_reference_device();
    const Shard shard = tensor_parallel(config, 1, 32).shards[0];
    Transformer model =
        test::make_model(*device, {group, group, {{.units = {0, unit::count(config.layers)}}}},
                         *checkpoint, config, shard, {}, 4);
    const std::vector<int32_t> blocks{0}, tokens{1, 2, 3, 4, 5};
    const int64_t limit = 5;
    const SequenceChunk chunk{.tokens = 5, .blocks = blocks};
    EXPECT_THROW(
        model.forward({.tokens = tokens, .chunks = {&chunk, 1}, .length_limits = {&limit, 1}}),
        Bug);
  });
}

}  // namespace
}  // namespace dinfer
