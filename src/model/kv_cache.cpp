#include "model/kv_cache.h"

namespace dinfer {
namespace {

// One layer's keys, or values, of one block.
size_t block_bytes(const ModelConfig& config, const Shard& shard, KvType type, int block_size) {
  return static_cast<size_t>(shard.kv_heads.size() * block_size * config.head_dim) * bytes_of(type);
}

}  // namespace

KvCache::KvCache(Device& device, const ModelConfig& config, const Shard& shard, KvType type,
                 int block_size, int64_t blocks)
    : block_size_(block_size), blocks_(blocks) {
  const size_t bytes = static_cast<size_t>(blocks) * block_bytes(config, shard, type, block_size);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    if (!shard.owns(unit::attention(layer))) {
      layers_.emplace_back();
      continue;
    }
    Buffer& keys = *buffers_.emplace_back(device.allocate(bytes));
    Buffer& values = *buffers_.emplace_back(device.allocate(bytes));
    layers_.push_back({.keys = keys.data(),
                       .values = values.data(),
                       .type = type,
                       .block_size = block_size,
                       .kv_heads = shard.kv_heads.size(),
                       .head_dim = config.head_dim});
  }
}

size_t KvCache::bytes_per_block(const ModelConfig& config, const Shard& shard, KvType type,
                                int block_size) {
  size_t layers = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer)
    layers += shard.owns(unit::attention(layer)) ? 1 : 0;
  return layers * 2 * block_bytes(config, shard, type, block_size);
}

}  // namespace dinfer
