#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/communicator.h"
#include "device/device.h"
#include "model/kv_cache.h"
#include "model/rope.h"
#include "model/weights.h"
#include "placement/placement.h"

namespace dinfer {

// What a step computes. The same on all ranks of the group.
struct StepInput {
  std::span<const int32_t> tokens;  // [rows], chunk after chunk
  std::span<const SequenceChunk> chunks;
  std::span<const int64_t> length_limits;  // by chunk: the most tokens its sequence may come to
  std::span<const int64_t> logit_rows;     // rows whose logits are wanted, in the order wanted
};

// The most that one step may hold: sizes the activations.
struct StepLimits {
  int64_t rows = 512;  // tokens
  int64_t logit_rows = 64;
  int64_t positions = 0;    // tokens of the longest sequence
  bool rows_apart = false;  // sums over ranks row by row: their order depends on lengths
};

// Whom a rank computes with. All of these outlive the model.
struct ModelPeers {
  Communicator& group;  // the ranks that own the same units
  Communicator& all;    // of the job: hidden states go from stage to stage
  std::vector<OwnStage> stages;
  std::function<void()> on_unit = [] {};  // called after each unit: others may wait for this rank
};

// The forward pass of one rank: its part of its stages.
class Transformer {
 public:
  Transformer(Device& device, const ModelPeers& peers, const ModelConfig& config,
              const Shard& shard, ModelWeights weights, KvCache cache, const StepLimits& limits);

  // Runs the step's tokens through the rank's stages, appending to the KV cache. Where the rank
  // owns the head, returns the logits [logit_rows, its vocabulary slice], in device memory, valid
  // until the next call; otherwise nothing of note. Collective over all ranks that own units.
  Tensor forward(const StepInput& step);

  const ModelWeights& weights() const { return weights_; }
  const KvCache& cache() const { return cache_; }

  // Bytes of hidden states that went into sums over the group, and from and to other stages.
  uint64_t moved_bytes() const { return moved_bytes_; }

  // Device memory of activations.
  static size_t activation_bytes(const ModelConfig& config, const Shard& shard,
                                 const StepLimits& limits);
  // Device memory of rotation tables, for each of the positions that a sequence may have.
  static size_t bytes_per_position(const ModelConfig& config, const Shard& shard,
                                   int64_t positions);

 private:
  void compute(int64_t rows, int64_t wanted);
  void run_unit(int64_t unit, Tensor hidden, int64_t wanted);
  void embed(Tensor hidden);
  void head(Tensor hidden, int64_t wanted);
  void attention(int64_t layer, Tensor hidden);
  void mlp(int64_t layer, Tensor hidden);
  Tensor branch(Tensor hidden);
  Output branch_output() const;
  void join(Tensor branch, const DeviceVector& post_norm, Tensor hidden);
  void sum_over_group(Tensor part);

  void take_chunks(const StepInput& step);
  void take_rows(const StepInput& step);
  uint64_t moved_bytes_per_row() const;
  AttentionSpec attention_spec(int64_t layer) const;
  std::span<const RopeTable> rotations(int64_t layer) const;
  ExpertSpec expert_spec() const;
  float epsilon() const { return static_cast<float>(config_.norm_epsilon); }
  Tensor view(Buffer& buffer, int64_t rows, int64_t columns) const;

  Device& device_;
  ModelPeers peers_;
  bool recordable_;
  ModelConfig config_;
  Shard shard_;
  ModelWeights weights_;
  KvCache cache_;
  bool attends_;
  Rope rope_;
  StepLimits limits_;
  uint64_t moved_bytes_ = 0;

  std::unique_ptr<Buffer> hidden_;  // [rows, hidden]: the residual stream
  std::unique_ptr<Buffer> last_;    // [logit rows, hidden]: those that go to the head
  std::unique_ptr<Buffer> mixed_;   // [rows, heads * head_dim]: what attention gathered
  std::unique_ptr<Buffer> wide_;    // never needed together: q|k|v, gate|up, logits
  std::unique_ptr<Buffer> branch_;  // [rows, hidden] where what layers add is normed, else empty
  std::vector<int32_t> tokens_;     // of the step at work, as all that follows
  std::vector<int64_t> logit_rows_;
  std::vector<SequenceChunk> chunks_;  // with their rotations
};

}  // namespace dinfer
