#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "device/device.h"
#include "placement/placement.h"
#include "quant/quantize.h"

namespace dinfer {

// A norm weight or bias in device memory; data() is null when the model has none.
class DeviceVector {
 public:
  DeviceVector() = default;
  DeviceVector(Device& device, std::span<const float> values);

  const float* data() const {
    return buffer_ ? reinterpret_cast<const float*>(buffer_->data()) : nullptr;
  }

 private:
  std::unique_ptr<Buffer> buffer_;
};

// What one rank holds of one layer; the matrices of units that it does not own are none. Rows =
// outputs. With `heads`, `kv_heads`, `ffn` of its shard:
struct LayerWeights {
  DeviceVector attention_norm;      // [hidden]
  std::unique_ptr<Weight> qkv;      // [(heads + 2 kv_heads) * head_dim, hidden] = [q; k; v]
  DeviceVector qkv_bias;            // [(heads + 2 kv_heads) * head_dim], or none
  DeviceVector q_norm, k_norm;      // [head_dim], or none
  std::unique_ptr<Weight> output;   // [hidden, heads * head_dim]
  DeviceVector output_bias;         // [hidden] on rank 0 of the group, or none
  DeviceVector output_norm;         // [hidden] of what attention adds, or none
  DeviceVector mlp_norm;            // [hidden]
  std::unique_ptr<Weight> router;   // [experts, hidden], or none: then one MLP is all there is
  std::unique_ptr<Weight> gate_up;  // [2 ffn, hidden] = [gate; up], or a stack of the experts'
  DeviceVector gate_up_bias;        // [2 ffn], or none
  std::unique_ptr<Weight> down;     // [hidden, ffn], or a stack of the experts'
  DeviceVector down_bias;           // [hidden] on rank 0 of the group, or none
  DeviceVector down_norm;           // [hidden] of what the MLP adds, or none
};

// Bytes of matrices: on the device, or what a step reads of them.
struct WeightBytes {
  uint64_t always = 0;   // that any step needs
  uint64_t experts = 0;  // of which a step needs those that were chosen

  uint64_t all() const { return always + experts; }
  // Of a step with so many rows, on average.
  double read_by(double rows, const ExpertConfig& config) const {
    return static_cast<double>(always) + static_cast<double>(experts) * config.share_of(rows);
  }
};

struct ModelWeights {
  std::shared_ptr<const Weight> embedding;  // [vocab slice, hidden], or none
  std::vector<LayerWeights> layers;         // all of the model's
  DeviceVector final_norm;                  // [hidden]
  std::shared_ptr<const Weight> head;  // [vocab slice, hidden], or none; the embedding itself where
                                       // tied and both are here

  // What decoding steps read: the layers and the head.
  WeightBytes bytes_per_step() const;
  // Bytes of all matrices held.
  size_t bytes() const;
};

// Called as loading goes on; both in bytes of the model's files, of this rank's slices.
using LoadProgress = std::function<void(uint64_t done, uint64_t total)>;

// Reads this rank's slices and uploads them. Plain matrices are grouped as `quant` says; embedding
// and head, where it does not name them, at 8 bits, with 4 as with 8: the head's error goes
// straight into the logits. Matrices that the file has in groups stay as they are; groups follow
// fitting_quantization.
ModelWeights load_weights(const Checkpoint& checkpoint, const ModelConfig& config,
                          const Shard& shard, const QuantChoice& quant, Device& device,
                          const LoadProgress& progress = {});

// Bytes of the model's files that load_weights reads for this shard: `total` of its progress.
uint64_t bytes_to_load(const Checkpoint& checkpoint, const ModelConfig& config, const Shard& shard);

// About the device memory that load_weights needs for the matrices: for planning before loading.
WeightBytes planned_weight_bytes(const Checkpoint& checkpoint, const ModelConfig& config,
                                 const Shard& shard, const QuantChoice& quant);

// The same for random_weights.
WeightBytes random_weight_bytes(const ModelConfig& config, const Shard& shard,
                                const QuantChoice& quant);

// Weights of the config's shapes with random values, quantised as above (bf16 where that
// has no bits): for benchmarks. The values depend on the shard. Activations stay finite.
ModelWeights random_weights(const ModelConfig& config, const Shard& shard, const QuantChoice& quant,
                            Device& device, uint64_t seed);

}  // namespace dinfer
