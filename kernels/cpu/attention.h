#pragma once

#include <cstddef>
#include <cstdint>

#include "base/kv_type.h"

namespace dinfer::cpu {

// The paged keys and values of one sequence: block b of the cache holds `block_size` tokens of each
// KV head at [b, kv_head, token, head_dim]; `blocks` names the sequence's blocks in order.
struct PagedKv {
  std::byte* keys = nullptr;
  std::byte* values = nullptr;
  KvType type = KvType::f32;
  int64_t block_size = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  const int32_t* blocks = nullptr;

  size_t offset(int64_t kv_head, int64_t position) const {
    const int64_t block = blocks[position / block_size];
    const int64_t token = position % block_size;
    return ((block * kv_heads + kv_head) * block_size + token) * head_dim * bytes_of(type);
  }
};

// RMS norm of one head (weights `norm`, or none), then rotation of the pairs (i, i + half) by the
// angles of one position (half 0: none). In place.
void norm_and_rotate(float* head, int64_t head_dim, const float* norm, float epsilon,
                     const float* cosine, const float* sine, int64_t half);

// Writes a head's key and value at a position of the cache.
void append_kv(const PagedKv& cache, int64_t kv_head, int64_t position, const float* key,
               const float* value);

// Consecutive tokens of a sequence, and the query heads that share one KV head.
struct Queries {
  const float* data = nullptr;  // [tokens, stride]: head h of the group at h * head_dim
  int64_t stride = 0;
  int64_t tokens = 0;
  int64_t heads = 0;
  int64_t position = 0;  // of the first token
  int64_t window = 0;    // 0: all earlier positions
  float scale = 1.0f;

  int64_t first_seen(int64_t at) const { return window > 0 && at >= window ? at - window + 1 : 0; }
};

// One token: attention over the positions [begin, end) alone. For head h writes the sum of
// exp(score - top) times value to sums[h * head_dim], and tops[h], weights[h] = sum of exp(score -
// top).
void attend_part(const Queries& q, const PagedKv& cache, int64_t kv_head, int64_t begin,
                 int64_t end, float* scratch, float* sums, float* tops, float* weights);
size_t attend_part_scratch(int64_t heads, int64_t head_dim);  // floats

// Joins `parts` results of attend_part, each [heads, head_dim], [heads], [heads], into out [heads,
// head_dim].
void join_parts(int64_t parts, int64_t heads, int64_t head_dim, const float* sums,
                const float* tops, const float* weights, float* out);

// Several tokens, whose keys are in the cache already: out [tokens, out_stride], heads as in q.
void attend_tokens(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                   float* out, int64_t out_stride);
// The same by AMX, where multiplies_tiles(): numbers count with 16 bits, as many as f16 and f8
// need.
void attend_tokens_in_tiles(const Queries& q, const PagedKv& cache, int64_t kv_head, float* scratch,
                            float* out, int64_t out_stride);
// For either.
size_t attend_tokens_scratch(int64_t tokens, int64_t heads, int64_t head_dim);  // floats

}  // namespace dinfer::cpu
