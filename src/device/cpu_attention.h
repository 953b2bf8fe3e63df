#pragma once

#include <cstdint>
#include <vector>

#include "device/device.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/memory.h"
#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// Attention of a step over the paged cache on a team of threads. A sequence's chunk of one token
// and one of several go different ways, whose results differ in rounding; within each way a
// sequence's result depends on nothing else in the batch, nor on the number of threads.
class CpuAttention {
 public:
  // `tiles`: AMX is used for chunks of several tokens.
  CpuAttention(cpu::ThreadPool& pool, bool tiles)
      : pool_(pool), tiles_(tiles), scratch_(pool.size()) {}

  void run(Tensor qkv, std::span<const SequenceChunk> chunks, const AttentionSpec& spec,
           std::span<const RopeTable> rope, const KvLayer& cache, Tensor out);

 private:
  struct Task {  // a part of one chunk, for the query heads of one KV head
    const SequenceChunk* chunk;
    int64_t kv_head;
    int64_t begin, end;   // positions of the cache (one token), or tokens of the chunk (several)
    int64_t part, parts;  // one token: which part of how many
    int64_t slot;         // one token: where the part's result lies
  };

  void plan(std::span<const SequenceChunk> chunks, const AttentionSpec& spec, const KvLayer& cache);

  cpu::ThreadPool& pool_;
  const bool tiles_;
  std::vector<cpu::Scratch> scratch_;  // a thread each
  cpu::Scratch part_sums_, part_tops_, part_weights_;
  std::vector<Task> tasks_;
  int64_t slots_ = 0;
};

}  // namespace dinfer
