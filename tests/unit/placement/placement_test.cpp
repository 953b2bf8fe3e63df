#include "placement/placement.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/error.h"

namespace dinfer {
namespace {

using Sizes = std::vector<int>;

ModelConfig smollm2() {
  ModelConfig config;
  config.hidden = 576;
  config.layers = 30;
  config.heads = 9;
  config.kv_heads = 3;
  config.head_dim = 64;
  config.ffn = 1536;
  config.vocab = 49152;
  return config;
}

ModelConfig shape(int64_t heads, int64_t kv_heads, int64_t ffn, int64_t vocab) {
  ModelConfig config = smollm2();
  config.heads = heads;
  config.kv_heads = kv_heads;
  config.ffn = ffn;
  config.vocab = vocab;
  return config;
}

// Ranges that follow each other without gap or overlap, none empty, over [0, size).
template <class Member>
void expect_tiles(const Placement& placement, Member member, int64_t size) {
  int64_t at = 0;
  for (const Shard& shard : placement.shards) {
    const Range range = shard.*member;
    EXPECT_EQ(range.begin, at);
    EXPECT_GT(range.size(), 0);
    at = range.end;
  }
  EXPECT_EQ(at, size);
}

TEST(Placement, RangesTileEveryDimensionForAllSizesThatFit) {
  int seen = 0;
  for (const ModelConfig& config :
       {smollm2(), shape(4, 2, 160, 512), shape(32, 8, 11008, 32003), shape(6, 2, 100, 17),
        shape(64, 8, 29568, 151936), shape(12, 12, 96, 1000), shape(8, 1, 33, 8)}) {
    for (int ranks : tensor_parallel_sizes(config, 64)) {
      SCOPED_TRACE(fmt::format("heads {} ranks {}", config.heads, ranks));
      const Placement placement = tensor_parallel(config, ranks, 32);
      ASSERT_EQ(placement.shards.size(), static_cast<size_t>(ranks));
      expect_tiles(placement, &Shard::heads, config.heads);
      expect_tiles(placement, &Shard::ffn, config.ffn);
      expect_tiles(placement, &Shard::vocab, config.vocab);
      for (const Shard& shard : placement.shards) {
        // Each query head's own KV head, and no other, is on its rank.
        const int64_t per_kv = config.heads / config.kv_heads;
        EXPECT_EQ(shard.kv_heads.begin, shard.heads.begin / per_kv);
        EXPECT_EQ(shard.kv_heads.end, (shard.heads.end - 1) / per_kv + 1);
        EXPECT_EQ(shard.heads.size() % shard.kv_heads.size(), 0);
        ++seen;
      }
    }
  }
  EXPECT_GT(seen, 200);
}

TEST(Placement, OneRankOwnsAll) {
  const Placement placement = tensor_parallel(smollm2(), 1, 32);
  ASSERT_EQ(placement.stages.size(), 1u);
  EXPECT_EQ(placement.stages[0].units, (Range{0, 62}));
  EXPECT_EQ(placement.stages[0].ranks, (Sizes{0}));
  EXPECT_EQ(placement.shards[0].ffn, (Range{0, 1536}));
  EXPECT_EQ(placement.shards[0].kv_heads, (Range{0, 3}));
}

TEST(Placement, KvHeadsAreReplicatedWhereRanksOutnumberThem) {
  const Placement placement = tensor_parallel(smollm2(), 9, 32);
  EXPECT_EQ(placement.shards[2].heads, (Range{2, 3}));
  EXPECT_EQ(placement.shards[2].kv_heads, (Range{0, 1}));
  EXPECT_EQ(placement.shards[3].kv_heads, (Range{1, 2}));
}

TEST(Placement, FfnCutsKeepQuantisationGroupsWholeAndMayBeUneven) {
  const Placement placement = tensor_parallel(shape(6, 2, 160, 512), 2, 32);
  EXPECT_EQ(placement.shards[0].ffn, (Range{0, 64}));
  EXPECT_EQ(placement.shards[1].ffn, (Range{64, 160}));
}

TEST(Placement, FewerGroupsThanRanksAreCutFiner) {
  const Placement placement = tensor_parallel(shape(12, 12, 96, 512), 6, 32);
  EXPECT_EQ(placement.shards[0].ffn, (Range{0, 16}));
}

TEST(Placement, RefusesWhatCannotBeSplitAndListsWhatCan) {
  try {
    tensor_parallel(smollm2(), 2, 32);
    FAIL() << "2 ranks were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    const std::string message = error.what();
    EXPECT_NE(message.find("2 ranks"), std::string::npos) << message;
    EXPECT_NE(message.find("9 query heads"), std::string::npos) << message;
    EXPECT_NE(message.find("3 KV heads"), std::string::npos) << message;
    EXPECT_NE(message.find("work: 1, 3, 9"), std::string::npos) << message;
  }
}

TEST(Placement, SaysWhatIsTooSmallForTheRanks) {
  const auto refusal = [](const ModelConfig& config, HeadRule rule) -> std::string {
    try {
      tensor_parallel(config, 8, {1, rule});
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  for (const HeadRule rule : {HeadRule::even, HeadRule::uneven}) {
    EXPECT_NE(refusal(shape(8, 8, 96, 5), rule).find("5 tokens in its vocabulary"),
              std::string::npos);
    EXPECT_NE(refusal(shape(8, 8, 7, 512), rule).find("7 columns in its MLPs"), std::string::npos);
    EXPECT_NE(refusal(shape(4, 4, 96, 512), rule).find("4 query heads"), std::string::npos);
  }
}

TEST(Placement, ExpertsAreCutAsMlpsAre) {
  ModelConfig config = shape(8, 8, 96, 512);
  config.experts = {.count = 8, .chosen = 2, .ffn = 768, .layers = std::vector<bool>(30, true)};
  const Placement four = tensor_parallel(config, 4, 32);
  expect_tiles(four, &Shard::expert_ffn, 768);
  for (const Shard& shard : four.shards) EXPECT_EQ(shard.expert_ffn.size(), 192);
  config.experts.ffn = 48;
  const Placement fine = tensor_parallel(config, 4, 32);
  expect_tiles(fine, &Shard::expert_ffn, 48);
  config.experts.ffn = 6;
  try {
    tensor_parallel(config, 8, 1);
    FAIL() << "8 ranks were accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ExitCode::config);
    EXPECT_NE(std::string(error.what()).find("6 columns in each of its experts"),
              std::string::npos);
  }
  EXPECT_EQ(tensor_parallel_sizes(config, 8), (Sizes{1, 2, 4}));
}

TEST(Placement, UnevenHeadsTileAndKeepTheirOwnKvHead) {
  const ModelConfig config = smollm2();  // 9 query heads, 3 KV heads
  const auto query_heads = [&](int ranks) {
    Sizes sizes;
    const Placement placement = tensor_parallel(config, ranks, {32, HeadRule::uneven});
    expect_tiles(placement, &Shard::heads, config.heads);
    for (const Shard& shard : placement.shards) {
      sizes.push_back(static_cast<int>(shard.heads.size()));
      EXPECT_EQ(shard.kv_heads.begin, shard.heads.begin / 3);
      EXPECT_EQ(shard.kv_heads.end, (shard.heads.end - 1) / 3 + 1);
      EXPECT_EQ(shard.heads.size() % shard.kv_heads.size(), 0);
    }
    return sizes;
  };
  EXPECT_EQ(query_heads(2), (Sizes{3, 6}));
  EXPECT_EQ(query_heads(3), (Sizes{3, 3, 3}));
  EXPECT_EQ(query_heads(4), (Sizes{3, 3, 1, 2}));
  EXPECT_EQ(query_heads(5), (Sizes{3, 1, 2, 1, 2}));
  EXPECT_EQ(query_heads(9), (Sizes(9, 1)));
  EXPECT_THROW(tensor_parallel(config, 10, {32, HeadRule::uneven}), Error);
}

TEST(Placement, StagesAreRunsOfUnitsWithOneOwner) {
  ModelConfig config = smollm2();
  config.layers = 2;  // embed, L0.attention, L0.mlp, L1.attention, L1.mlp, head
  const std::vector<int> owners{1, 1, 0, 0, 1, 1};
  const Placement placement = place(config, {{0}, {1}}, owners, 32);
  ASSERT_EQ(placement.stages.size(), 3u);
  EXPECT_EQ(placement.stages[0].units, (Range{0, 2}));
  EXPECT_EQ(placement.stages[1].units, (Range{2, 4}));
  EXPECT_EQ(placement.stages[1].ranks, (Sizes{0}));
  EXPECT_EQ(placement.stages[2].units, (Range{4, 6}));
  EXPECT_EQ(placement.shards[1].units, (std::vector<Range>{{0, 2}, {4, 6}}));
  EXPECT_TRUE(placement.shards[0].owns(unit::mlp(0)));
  EXPECT_FALSE(placement.shards[0].owns(unit::mlp(1)));
  EXPECT_FALSE(placement.shards[0].owns(unit::kEmbed));
  EXPECT_EQ(placement.shards[0].heads, (Range{0, 9}));
}

TEST(Placement, UnitsAreNamedInTheirOrder) {
  const std::vector<std::string> names{"embed",        "L0.attention", "L0.mlp",
                                       "L1.attention", "L1.mlp",       "head"};
  ASSERT_EQ(unit::count(2), std::ssize(names));
  for (int64_t u = 0; u < unit::count(2); ++u)
    EXPECT_EQ(unit::name(u, 2), names[static_cast<size_t>(u)]);
}

TEST(Placement, APipelineSharesOutLayersAndHeadByTheirWork) {
  ModelConfig config = shape(4, 2, 160, 512);  // 1248 columns a layer, the head counts for 341
  config.layers = 7;
  const Placement placement = pipeline(config, 2, 3, 32);
  ASSERT_EQ(placement.stages.size(), 3u);
  EXPECT_EQ(placement.stages[0].units, (Range{0, unit::attention(2)}));
  EXPECT_EQ(placement.stages[1].units, (Range{unit::attention(2), unit::attention(5)}));
  EXPECT_EQ(placement.stages[2].units, (Range{unit::attention(5), unit::count(7)}));
  EXPECT_EQ(placement.stages[2].ranks, (Sizes{4, 5}));
  EXPECT_EQ(placement.group_of(3), (Sizes{2, 3}));
  EXPECT_EQ(placement.shards[5].rank, 1);
  EXPECT_EQ(placement.shards[5].heads, (Range{2, 4}));
}

TEST(Placement, TheStageWithTheHeadOfALargeVocabularyHasFewerLayers) {
  const auto first_of_two = [](const ModelConfig& config) {
    return pipeline(config, 1, 2, 32).stages[0].units.size() / 2;
  };
  ModelConfig config = smollm2();
  config.layers = 30;
  EXPECT_EQ(first_of_two(config), 18);
  config = shape(32, 8, 14336, 128256);
  config.head_dim = 128;
  config.layers = 32;
  EXPECT_EQ(first_of_two(config), 17) << "Llama-3.1-8B";
  config.layers = 2;
  EXPECT_EQ(first_of_two(config), 1);
}

TEST(Placement, EveryStageOfAPipelineHasALayer) {
  ModelConfig config = smollm2();
  for (config.layers = 1; config.layers < 12; ++config.layers) {
    for (int stages = 1; stages <= config.layers; ++stages) {
      int64_t at = 0;
      for (const Stage& stage : pipeline(config, 1, stages, 32).stages) {
        EXPECT_EQ(stage.units.begin, at);
        EXPECT_GE(stage.units.size(), 2);
        at = stage.units.end;
      }
      EXPECT_EQ(at, unit::count(config.layers));
    }
    EXPECT_THROW(pipeline(config, 1, static_cast<int>(config.layers) + 1, 32), Error);
  }
}

TEST(Placement, SizesRespectKvHeads) {
  EXPECT_EQ(tensor_parallel_sizes(smollm2(), 64), (Sizes{1, 3, 9}));
  EXPECT_EQ(tensor_parallel_sizes(shape(6, 2, 256, 576), 64), (Sizes{1, 2, 6}));
  EXPECT_EQ(tensor_parallel_sizes(shape(32, 8, 8192, 128256), 8), (Sizes{1, 2, 4, 8}));
}

}  // namespace
}  // namespace dinfer
