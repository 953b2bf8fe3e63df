#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/model_config.h"
#include "device/device.h"
#include "placement/placement.h"

namespace dinfer {

// Keys and values of this rank's KV heads, for the layers whose attention it owns: `blocks` blocks
// of `block_size` tokens. Which block belongs to which sequence is the engine's business. Contents
// are undefined until Device::attend has written them.
class KvCache {
 public:
  KvCache(Device& device, const ModelConfig& config, const Shard& shard, KvType type,
          int block_size, int64_t blocks);

  const KvLayer& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  int block_size() const { return block_size_; }
  int64_t blocks() const { return blocks_; }

  // Bytes that one block takes on this rank, over all layers, keys and values.
  static size_t bytes_per_block(const ModelConfig& config, const Shard& shard, KvType type,
                                int block_size);

 private:
  int block_size_;
  int64_t blocks_;
  std::vector<std::unique_ptr<Buffer>> buffers_;
  std::vector<KvLayer> layers_;
};

}  // namespace dinfer
