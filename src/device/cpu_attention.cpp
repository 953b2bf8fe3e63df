#include "device/cpu_attention.h"

#include <algorithm>
#include <atomic>

namespace dinfer {
namespace {

using cpu::PagedKv;
using cpu::Queries;

constexpr int64_t kPartPositions = 256;  // of the cache, that one task reads for one token
constexpr int64_t kTaskQueries = 96;     // tokens x heads that one task takes for several tokens

PagedKv paged(const KvLayer& cache, const SequenceChunk& chunk) {
  return {.keys = cache.keys,
          .values = cache.values,
          .type = cache.type,
          .block_size = cache.block_size,
          .kv_heads = cache.kv_heads,
          .head_dim = cache.head_dim,
          .blocks = chunk.blocks.data()};
}

// Norms, rotates and stores one head of [q | k | v] of one row.
void prepare_head(Tensor qkv, int64_t row, int64_t position, int64_t head, const PagedKv& kv,
                  const AttentionSpec& spec, const RopeTable& rope) {
  float* at = qkv.data + row * qkv.columns + head * kv.head_dim;
  const int64_t half = rope.rotary_dim / 2;
  const float* cosine = rope.cosine + position * half;
  const float* sine = rope.sine + position * half;
  if (head < spec.heads) {
    cpu::norm_and_rotate(at, kv.head_dim, spec.q_norm, spec.norm_epsilon, cosine, sine, half);
    return;
  }
  cpu::norm_and_rotate(at, kv.head_dim, spec.k_norm, spec.norm_epsilon, cosine, sine, half);
  cpu::append_kv(kv, head - spec.heads, position, at, at + kv.kv_heads * kv.head_dim);
}

}  // namespace

void CpuAttention::plan(std::span<const SequenceChunk> chunks, const AttentionSpec& spec,
                        const KvLayer& cache) {
  const int64_t heads = spec.heads / cache.kv_heads;
  tasks_.clear();
  slots_ = 0;
  for (const SequenceChunk& chunk : chunks) {
    const bool one = chunk.tokens == 1;
    const int64_t last = chunk.position + 1;
    const int64_t first = one ? Queries{.window = spec.window}.first_seen(chunk.position) : 0;
    const int64_t count = one ? last - first : chunk.tokens;
    const int64_t size = one ? kPartPositions : std::max<int64_t>(1, kTaskQueries / heads);
    const int64_t parts = (count + size - 1) / size;
    for (int64_t h = 0; h < cache.kv_heads; ++h) {
      for (int64_t p = 0; p < parts; ++p) {
        tasks_.push_back({&chunk, h, first + p * size, first + std::min(count, (p + 1) * size), p,
                          parts, one ? slots_++ : 0});
      }
    }
  }
}

void CpuAttention::run(Tensor qkv, std::span<const SequenceChunk> chunks, const AttentionSpec& spec,
                       std::span<const RopeTable> rope, const KvLayer& cache, Tensor out) {
  const int64_t dim = cache.head_dim;
  const int64_t heads = spec.heads / cache.kv_heads;  // that share a KV head
  plan(chunks, spec, cache);
  const int64_t slot_floats = heads * dim;
  float* sums = part_sums_.get<float>(slots_ * slot_floats);
  float* tops = part_tops_.get<float>(slots_ * heads);
  float* weights = part_weights_.get<float>(slots_ * heads);

  const auto queries = [&](const Task& task, int64_t first_token, int64_t tokens) {
    return Queries{.data = qkv.data + (task.chunk->first_row + first_token) * qkv.columns +
                           task.kv_head * heads * dim,
                   .stride = qkv.columns,
                   .tokens = tokens,
                   .heads = heads,
                   .position = task.chunk->position + first_token,
                   .window = spec.window,
                   .scale = spec.scale};
  };
  const auto out_at = [&](const Task& task, int64_t token) {
    return out.data + (task.chunk->first_row + token) * out.columns + task.kv_head * heads * dim;
  };

  const int64_t prepared_heads = spec.heads + cache.kv_heads;
  std::atomic<int64_t> next{0};
  pool_.run([&](int rank) {
    for (const SequenceChunk& chunk : chunks) {
      const cpu::Range mine = cpu::part_of(chunk.tokens * prepared_heads, rank, pool_.size());
      for (int64_t i = mine.begin; i < mine.end; ++i) {
        const int64_t token = i / prepared_heads;
        prepare_head(qkv, chunk.first_row + token, chunk.position + token, i % prepared_heads,
                     paged(cache, chunk), spec, rope[chunk.rotation]);
      }
    }
    pool_.barrier();
    // Later tokens see more: taken first, so that no thread is left with a long one at the end.
    for (int64_t i = std::ssize(tasks_) - 1 - next++; i >= 0; i = std::ssize(tasks_) - 1 - next++) {
      const Task& task = tasks_[i];
      const PagedKv kv = paged(cache, *task.chunk);
      if (task.chunk->tokens == 1) {
        float* scratch = scratch_[rank].get<float>(cpu::attend_part_scratch(heads, dim));
        cpu::attend_part(queries(task, 0, 1), kv, task.kv_head, task.begin, task.end, scratch,
                         sums + task.slot * slot_floats, tops + task.slot * heads,
                         weights + task.slot * heads);
      } else {
        const int64_t tokens = task.end - task.begin;
        float* scratch = scratch_[rank].get<float>(cpu::attend_tokens_scratch(tokens, heads, dim));
        const auto attend = tiles_ ? cpu::attend_tokens_in_tiles : cpu::attend_tokens;
        attend(queries(task, task.begin, tokens), kv, task.kv_head, scratch,
               out_at(task, task.begin), out.columns);
      }
    }
  });
  for (const Task& task : tasks_) {
    if (task.chunk->tokens != 1 || task.part != 0) continue;
    cpu::join_parts(task.parts, heads, dim, sums + task.slot * slot_floats,
                    tops + task.slot * heads, weights + task.slot * heads, out_at(task, 0));
  }
}

}  // namespace dinfer
