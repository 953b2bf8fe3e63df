#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"

namespace dinfer::test {

// A checkpoint in memory, f32 tensors only.
class MemoryCheckpoint : public Checkpoint {
 public:
  void add(std::string name, std::vector<int64_t> shape, std::vector<float> values);

  std::span<const TensorInfo> tensors() const override { return tensors_; }
  const TensorInfo* find(std::string_view name) const override;
  void read(const TensorInfo& tensor, uint64_t offset, std::span<std::byte> out) const override;
  std::string file_of(const TensorInfo&) const override { return "memory"; }
  std::string fingerprint() const override { return "memory"; }

  const std::vector<float>& values(std::string_view name) const;
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  std::vector<TensorInfo> tensors_;
  std::vector<std::vector<float>> values_;
  std::map<std::string, size_t, std::less<>> index_;
  mutable std::atomic<uint64_t> bytes_read_{0};
};

// hidden 64, 2 layers, 4 heads, 2 KV heads of 16, ffn 96, vocab 80, context 128: a Llama.
ModelConfig tiny_config();

// The same with 3 layers, of which those after the first `dense_layers` have 5 experts with ffn 48.
ModelConfig tiny_experts(int64_t dense_layers = 0);

// Random weights of any config's shapes, under Hugging Face's names, the same for the same seed.
std::unique_ptr<MemoryCheckpoint> tiny_checkpoint(const ModelConfig& config, uint64_t seed);

}  // namespace dinfer::test
