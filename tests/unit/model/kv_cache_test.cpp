#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include "tests/support/reference_device.h"
#include "tests/support/tiny_model.h"

namespace dinfer {
namespace {

TEST(KvCache, HoldsThisRanksHeadsOfEveryLayer) {
  const ModelConfig config = test::tiny_config();
  const Shard shard = tensor_parallel(config, 2, 32).shards[1];
  const auto device = make_reference_device();
  const KvCache cache(*device, config, shard, device->kv_type(), 16, 3);
  EXPECT_EQ(cache.blocks(), 3);
  EXPECT_EQ(cache.layer(1).kv_heads, 1);
  EXPECT_EQ(cache.layer(1).head_dim, 16);
  EXPECT_EQ(cache.layer(1).block_size, 16);
  EXPECT_NE(cache.layer(0).keys, cache.layer(1).keys);
  EXPECT_NE(cache.layer(1).values, cache.layer(1).keys);
}

TEST(KvCache, ABlockIsPlannedOverLayersKeysAndValues) {
  const ModelConfig config = test::tiny_config();
  const Shard one = tensor_parallel(config, 1, 32).shards[0];
  const Shard replicated = tensor_parallel(config, 4, 32).shards[3];
  // layers * (keys, values) * KV heads * tokens * head_dim * bytes
  EXPECT_EQ(KvCache::bytes_per_block(config, one, KvType::f16, 32), 2u * 2 * 2 * 32 * 16 * 2);
  EXPECT_EQ(KvCache::bytes_per_block(config, replicated, KvType::f32, 16),
            2u * 2 * 1 * 16 * 16 * 4);
}

}  // namespace
}  // namespace dinfer
