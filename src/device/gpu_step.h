#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <cuda_runtime.h>

#include "device/device.h"
#include "device/gpu_memory.h"
#include "kernels/cuda/attention.h"

namespace dinfer {

// What of a model's attention decides how a step is cut into the work of thread blocks.
struct AttentionHeads {
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;
  bool operator==(const AttentionHeads&) const = default;
  int group() const { return heads / kv_heads; }
};

// A step's tokens, rows and block tables in device memory, at addresses that stay while steps are
// no larger than those before: what a recorded step reads.
class GpuStep {
 public:
  explicit GpuStep(const cuda::Stream& stream);
  ~GpuStep();
  GpuStep(const GpuStep&) = delete;
  GpuStep& operator=(const GpuStep&) = delete;

  // Queues one copy of all that kernels need to know of `step`. Without heads, of its rows alone.
  void load(const Step& step, const AttentionHeads& heads);

  const int32_t* tokens() const;
  const int32_t* gathered_rows() const;
  const cuda::AttentionStep& attention() const { return attention_; }

  // Counts up when addresses change.
  uint64_t moves() const { return moves_; }

 private:
  // Where sections lie, in bytes.
  struct Sections {
    int64_t rows = 0, parts = 0, blocks = 0, tiles = 0;  // capacities
    size_t tokens = 0, gathered = 0, part_list = 0, block_list = 0, prompt_rows = 0, tile_list = 0;
    size_t bytes = 0;
  };

  void cut(const Step& step, const AttentionHeads& heads);
  void cut_context(const SequenceChunk& chunk, int32_t first_block, int64_t part_tokens);
  void cut_prompt(const SequenceChunk& chunk, int32_t first_block, int tile_tokens);
  void reserve(const Step& step, const AttentionHeads& heads);
  void copy(const Step& step);
  template <class T>
  T* device(size_t at) const {
    return reinterpret_cast<T*>(device_->data() + at);
  }

  const cuda::Stream stream_;
  cudaEvent_t copied_ = nullptr;  // the last copy from host_ is done
  Sections sections_;
  std::unique_ptr<PinnedMemory> host_;
  std::unique_ptr<GpuMemory> device_;
  std::unique_ptr<GpuMemory> partials_, arrivals_;
  cuda::AttentionStep attention_;
  uint64_t moves_ = 0;

  // Of the step being loaded.
  std::vector<cuda::DecodePart> parts_;
  std::vector<cuda::PromptRow> prompt_rows_;
  std::vector<cuda::PromptTile> tiles_;
  std::vector<int32_t> blocks_;
  int most_parts_ = 0;
};

}  // namespace dinfer
