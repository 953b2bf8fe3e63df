#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "model/transformer.h"
#include "tests/support/reference_device.h"
#include "tests/support/thread_world.h"

namespace dinfer::test {

// How a prompt is run.
struct Run {
  int ranks = 1;
  int64_t chunk = 1 << 20;  // tokens a step
  std::vector<int> owners;  // by unit, of the one-rank groups that then are; empty: all share all
  QuantSpec quant;
  int64_t ffn_alignment = 32;
  std::function<std::unique_ptr<Device>()> make_device = make_reference_device;
};

constexpr int kBlockSize = 16;

inline int64_t blocks_for(int64_t tokens) { return (tokens + kBlockSize - 1) / kBlockSize; }

// One rank's model with room for `tokens` tokens.
inline Transformer make_model(Device& device, const ModelPeers& peers, const Checkpoint& checkpoint,
                              const ModelConfig& config, const Shard& shard, const QuantSpec& quant,
                              int64_t tokens) {
  KvCache cache(device, config, shard, device.kv_type(), kBlockSize, 2 * blocks_for(tokens) + 1);
  return {device,
          peers,
          config,
          shard,
          load_weights(checkpoint, config, shard, quant, device),
          std::move(cache),
          {.rows = tokens, .logit_rows = tokens, .positions = tokens}};
}

// Logits [prompt, vocab]. The sequence's KV blocks lie apart and in reverse order.
inline std::vector<float> logits_of(const Checkpoint& checkpoint, const ModelConfig& config,
                                    const std::vector<int32_t>& prompt, const Run& run = {}) {
  const int64_t length = std::ssize(prompt);
  std::vector<std::vector<int>> alone;
  for (int rank = 0; rank < run.ranks; ++rank) alone.push_back({rank});
  const Placement placement = run.owners.empty()
                                  ? tensor_parallel(config, run.ranks, run.ffn_alignment)
                                  : place(config, alone, run.owners, run.ffn_alignment);
  std::vector<float> result(static_cast<size_t>(length * config.vocab));
  spawn(run.ranks, [&](Communicator& all) {
    const Shard& shard = placement.shards[static_cast<size_t>(all.rank())];
    const auto group = subgroup(all, placement.group_of(all.rank()));
    const ModelPeers peers{*group, all, placement.stages_of(all.rank())};
    const auto device = run.make_device();
    Transformer model = make_model(*device, peers, checkpoint, config, shard, run.quant, length);
    std::vector<int32_t> blocks;
    for (int64_t i = blocks_for(length); i > 0; --i) blocks.push_back(static_cast<int32_t>(2 * i));
    for (int64_t at = 0; at < length; at += run.chunk) {
      const int64_t tokens = std::min(run.chunk, length - at);
      const SequenceChunk chunk{.tokens = tokens, .position = at, .blocks = blocks};
      std::vector<int64_t> rows(static_cast<size_t>(tokens));
      for (int64_t i = 0; i < tokens; ++i) rows[static_cast<size_t>(i)] = i;
      const Tensor logits =
          model.forward({.tokens = std::span(prompt).subspan(static_cast<size_t>(at),
                                                             static_cast<size_t>(tokens)),
                         .chunks = {&chunk, 1},
                         .length_limits = {&length, 1},
                         .logit_rows = rows});
      if (!shard.owns(unit::head(config.layers))) continue;
      for (int64_t i = 0; i < tokens; ++i) {
        std::copy_n(logits.data + i * logits.columns, logits.columns,
                    result.begin() + (at + i) * config.vocab + shard.vocab.begin);
      }
    }
  });
  return result;
}

// ||actual - expected|| / ||expected||; infinite when the sizes differ or a value is not finite.
inline double relative_error(const std::vector<float>& actual, const std::vector<float>& expected) {
  double difference = 0;
  double norm = 0;
  if (actual.size() != expected.size()) return INFINITY;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(double{actual[i]} - expected[i], 2);
    norm += std::pow(double{expected[i]}, 2);
  }
  const double error = std::sqrt(difference / norm);
  return std::isfinite(error) ? error : INFINITY;
}

}  // namespace dinfer::test
