#include "placement/topology.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/unit/placement/refusal.h"
#include "tests/unit/placement/small_model.h"

namespace dinfer {
namespace {

using test::expect_has;
using test::refusal;

ModelConfig model_of(int64_t layers) {
  ModelConfig config = test::small_model(layers);
  config.qk_norm = true;
  return config;
}

// "embed=cuda:0 L0=cuda:0 L1.attention=cpu ..." would be long: one letter a unit, 0 to 9 or c.
std::string owners(const std::string& text, const ModelConfig& config) {
  const std::optional<DeviceMap> map = map_topology(parse_topology(text, "t.yaml"), config);
  if (!map) return "none";
  std::string letters;
  for (int owner : map->owners) {
    const DeviceName& device = map->devices[static_cast<size_t>(owner)];
    letters += device.cpu ? "c" : std::to_string(device.ordinal);
  }
  return letters;
}

TEST(Topology, LayersGoWhereTheirSelectorSays) {
  EXPECT_EQ(owners("0-2: {device: 'cuda[1]'}\n2: {device: cpu}\n", model_of(4)), "11111cc000");
}

TEST(Topology, LayersThatNobodyNamesTakeTheFirstDevice) {
  EXPECT_EQ(owners("1: {device: 'cuda[2]'}\n", model_of(3)), "00022000");
}

TEST(Topology, LaterSelectorsWin) {
  EXPECT_EQ(owners("0-4: {device: 'cuda[1]'}\n1-3: {device: 'cuda[2]'}\n", model_of(4)),
            "1112222111");
  EXPECT_EQ(owners("1-3: {device: 'cuda[2]'}\n0-4: {device: 'cuda[1]'}\n", model_of(4)),
            "1111111111");
}

TEST(Topology, RegularExpressionsWinOverLayers) {
  EXPECT_EQ(owners("/layers\\.1\\.mlp/: {device: cpu}\n0-2: {device: 'cuda[1]'}\n", model_of(2)),
            "1111c1");
  EXPECT_EQ(
      owners("/self_attn/: {device: 'cuda[1]'}\n/layers\\.0/: {device: 'cuda[2]'}\n", model_of(2)),
      "022100");
}

TEST(Topology, RegularExpressionsReachEmbeddingAndHead) {
  EXPECT_EQ(owners("/embed_tokens/: {device: 'cuda[1]'}\n/lm_head/: {device: cpu}\n", model_of(1)),
            "100c");
  ModelConfig tied = model_of(1);
  tied.tied_head = true;
  EXPECT_EQ(owners("/embed_tokens/: {device: 'cuda[1]'}\n", tied), "1000");
  EXPECT_EQ(owners("/model.norm/: {device: 'cuda[1]'}\n", tied), "0001");
}

TEST(Topology, WithoutADeviceThereIsNoMap) {
  EXPECT_EQ(owners("0-2: {isq: 4}\n", model_of(2)), "none");
}

TEST(Topology, DevicesAreThoseThatOwnSomething) {
  const auto map = map_topology(
      parse_topology("0: {device: 'cuda[1]'}\n0-1: {device: 'cuda[3]'}\n", "t.yaml"), model_of(1));
  EXPECT_EQ(map->devices, (std::vector<DeviceName>{{.ordinal = 3}}));
  EXPECT_EQ(map->source, "t.yaml");
}

std::string refused(const std::string& text, const ModelConfig& config = model_of(4)) {
  return refusal(ExitCode::config, [&] {
    const Topology topology = parse_topology(text, "t.yaml");
    map_topology(topology, config);
    choose_quantization(topology, config, {});
  });
}

TEST(Topology, ARegularExpressionThatSplitsAUnitIsRefusedByName) {
  const std::string text =
      refused("0-4: {device: 'cuda[1]'}\n\n/layers\\.2.*q_proj/: {device: cpu}\n");
  expect_has(text, "t.yaml:3: selector /layers\\.2.*q_proj/");
  expect_has(text, "model.layers.2.self_attn.q_proj.weight on cpu");
  expect_has(text, "L2.attention is owned as a whole");
  expect_has(text, "/layers\\.2\\.self_attn\\./");
  expect_has(refused("/layers\\.0\\.mlp\\.(gate|up)/: {device: cpu}\n"), "L0.mlp is owned");
  expect_has(refused("/layers\\.0\\.mlp\\.down/: {device: cpu}\n"), "/layers\\.0\\.mlp\\./");
  expect_has(refused("/layers.0.input_layernorm/: {device: cpu}\n"), "L0.attention is owned");
  expect_has(refused("/model.norm/: {device: cpu}\n"), "head is owned");
}

TEST(Topology, SelectorsThatDoNotFitTheModelAreRefused) {
  expect_has(refused("0-4: {device: cpu}\n2-9: {device: cpu}\n"),
             "t.yaml:2: selector 2-9 goes beyond the model's 4 layers: 0-4 are all of them");
  expect_has(refused("4: {isq: 8}\n"), "beyond the model's 4 layers");
  expect_has(refused("/attn_q/: {isq: 8}\n"),
             "matches none of the model's weights, whose names are like "
             "model.layers.0.self_attn.q_proj.weight");
  ModelConfig tied = model_of(4);
  tied.tied_head = true;
  expect_has(refused("/lm_head/: {isq: 8}\n", tied),
             "lacks: its head is the embedding, /embed_tokens/");
}

TEST(Topology, WhatIsNoTopologyIsRefusedWithLineAndTheValidForm) {
  struct Case {
    std::string text, says;
  };
  const std::vector<Case> cases{
      {"", "t.yaml:1: a topology is a map of selectors"},
      {"- 0-8\n", "t.yaml:1: a topology is a map"},
      {"0-4: {device: cpu\n", "no valid YAML"},
      {"0: {isq: 4}\n---\n1: {isq: 4}\n", "one YAML document"},
      {"a-b: {isq: 4}\n", "t.yaml:1: the selector \"a-b\" is not of the form 0-8 (layers 0 to 7)"},
      {"-3: {isq: 4}\n", "\"-3\" is not of the form"},
      {"1-: {isq: 4}\n", "\"1-\" is not of the form"},
      {"0-99999999999: {isq: 4}\n", "is not of the form"},
      {"0: {isq: 4}\n3-3: {isq: 4}\n", "t.yaml:2: the selector 3-3 holds no layer"},
      {"3-1: {isq: 4}\n", "as in 3-4"},
      {"/q_proj: {isq: 4}\n", "no regular expression between two slashes"},
      {"//: {isq: 4}\n", "no regular expression between two slashes"},
      {"/q_(proj/: {isq: 4}\n", "/q_(proj/ is no regular expression: missing )"},
      {"? [0, 1]\n: {isq: 4}\n", "a selector is one of"},
      {"0-4:\n", "selector 0-4 must have device, isq or both below it"},
      {"0-4: cuda[0]\n", "as in 0-4: {device: \"cuda[0]\", isq: 4}"},
      {"0-4:\n  isq: 4\n  devise: cpu\n",
       "t.yaml:3: the key \"devise\" of selector 0-4 is unknown; did you mean device?"},
      {"0-4: {quantum: 4}\n", "known: device, isq"},
      {"0-4:\n  device: cuda:1\n",
       "t.yaml:2: \"cuda:1\" is no device: cuda[0], cuda[1], ... or cpu"},
      {"0-4: {device: 'metal[0]'}\n", "is no device"},
      {"0-4: {device: 'cuda[-1]'}\n", "is no device"},
      {"0-4: {device: 'cuda[]'}\n", "is no device"},
      {"0-4: {device: [cpu]}\n", "must be one value"},
      {"0-4: {isq: q4kk}\n", "isq \"q4kk\" is unknown; did you mean q4k?"},
      {"0-4: {isq: 7}\n", "isq \"7\" is unknown"},
      {"0-4: {isq: 4, isq: 8}\n", "selector 0-4 has isq twice"},
      {"0-4: {isq: 4}\n1: {isq: 8}\n0-4: {isq: 8}\n",
       "t.yaml:3: selector 0-4 stands in line 1 already"},
  };
  for (const Case& wrong : cases) {
    SCOPED_TRACE(wrong.text);
    expect_has(refused(wrong.text), wrong.says);
  }
}

TEST(Topology, AFileThatCannotBeReadIsAConfigurationError) {
  expect_has(refusal(ExitCode::config, [] { read_topology("/nowhere/t.yaml"); }),
             "--topology /nowhere/t.yaml");
}

TEST(Topology, IsqGivesItsMatricesTheirBits) {
  const ModelConfig config = model_of(3);
  const QuantSpec four{.bits = 4, .group = 64};
  const QuantChoice choice = choose_quantization(
      parse_topology("0-2: {isq: q8_0}\n/mlp\\.down/: {isq: HQQ4}\n/lm_head/: {isq: 4}\n",
                     "t.yaml"),
      config, four);
  EXPECT_EQ(choice.of("model.layers.0.self_attn.q_proj"), (QuantSpec{.bits = 8, .group = 32}));
  EXPECT_EQ(choice.of("model.layers.1.mlp.up_proj"), (QuantSpec{.bits = 8, .group = 32}));
  EXPECT_EQ(choice.of("model.layers.1.mlp.down_proj"), (QuantSpec{.bits = 4, .group = 64}));
  EXPECT_EQ(choice.of("model.layers.2.mlp.up_proj"), four);
  EXPECT_EQ(choice.of("lm_head"), (QuantSpec{.bits = 4, .group = 32}));
  EXPECT_FALSE(choice.modules.contains("model.embed_tokens"));
}

TEST(Topology, ExpertsAreSelectedAsTheirLayerIs) {
  ModelConfig config = model_of(3);
  config.experts = {.count = 3, .chosen = 2, .ffn = 48, .layers = {false, true, true}};
  const auto choose = [&](const char* text) {
    return choose_quantization(parse_topology(text, "t.yaml"), config, {});
  };
  const QuantSpec eight{.bits = 8, .group = 32};
  const QuantChoice choice = choose("/mlp\\.experts.*down/: {isq: 8}\n2-3: {isq: 8}\n");
  EXPECT_EQ(choice.of("model.layers.1.mlp.experts.2.down_proj"), eight);
  EXPECT_EQ(choice.of("model.layers.1.mlp.experts.2.up_proj"), QuantSpec{});
  EXPECT_EQ(choice.of("model.layers.2.mlp.experts.0.up_proj"), eight);
  EXPECT_EQ(choice.of("model.layers.0.mlp.down_proj"), QuantSpec{});
  const std::string text = refusal(ExitCode::config, [&] { choose("/experts\\.1/: {isq: 8}\n"); });
  expect_has(text, "model.layers.1.mlp.experts.1.gate_proj");
  expect_has(text, "model.layers.1.mlp.experts.0.gate_proj");
  EXPECT_EQ(owners("'/layers\\.1\\.mlp/': {device: cpu}\n", config), "0000c000");
  config.experts.mixtral_names = true;
  EXPECT_EQ(owners("'/block_sparse_moe/': {device: cpu}\n", config), "0000c0c0");
  expect_has(
      refusal(ExitCode::config, [&] { owners("'/experts\\.1/': {device: 'cuda[1]'}\n", config); }),
      "/layers\\.1\\.block_sparse_moe\\./");
}

TEST(Topology, MatricesThatBecomeOneMustNotDiffer) {
  const std::string text = refused("0-4: {isq: 8}\n/layers\\.1.*k_proj/: {isq: 4}\n");
  expect_has(text, "t.yaml:2: selector /layers\\.1.*k_proj/");
  expect_has(text, "model.layers.1.self_attn.k_proj");
  expect_has(refused("/gate_proj/: {isq: 4}\n"), "model.layers.0.mlp.up_proj");
  ModelConfig fused = model_of(2);
  fused.fused_qkv = fused.fused_gate_up = true;
  EXPECT_NO_THROW(
      choose_quantization(parse_topology("/qkv_proj/: {isq: 4}\n", "t.yaml"), fused, {}));
}

}  // namespace
}  // namespace dinfer
