#pragma once

#include <cstdint>

#include "base/kv_type.h"
#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// How a step's tokens lie in their sequences, as the kernels read it. A sequence's block table
// begins at `first_block` of the step's block list; `rotation` names its rotation table.

// A run of the context of a token that is alone in its step: what one thread block reads of one KV
// head. The token's own key and value belong to the last part.
struct DecodePart {
  int32_t row;         // of the activations; negative: no part
  int32_t position;    // of the token
  int32_t begin, end;  // positions of the cache, begin a multiple of 16; end <= position
  int32_t first_block;
  int32_t rotation;
  int32_t part, parts;  // parts of a token follow each other
};

// A token of a chunk of several.
struct PromptRow {
  int32_t row;
  int32_t position;
  int32_t first_block;
  int32_t rotation;
};

// Consecutive tokens of such a chunk that one thread block takes for one KV head.
struct PromptTile {
  int32_t row;       // of the first token
  int32_t tokens;    // at most prompt_tile_tokens()
  int32_t position;  // of the first token
  int32_t first_block;
};

// All in device memory but the counts.
struct AttentionStep {
  const DecodePart* parts = nullptr;  // [most_parts], first those that are some
  int most_parts = 0;
  const PromptRow* prompt_rows = nullptr;
  int prompt_row_count = 0;
  const PromptTile* tiles = nullptr;
  int tile_count = 0;
  const int32_t* blocks = nullptr;
  float* partials = nullptr;  // decode_partial_floats() of them
  int32_t* arrivals =
      nullptr;  // decode_arrivals() of them, zero before the first call and after each
};

struct Rotation {
  const float* cosine = nullptr;  // [positions, half]
  const float* sine = nullptr;
};

// One layer's attention: the meaning is that of Device::attend.
struct Attention {
  float* qkv = nullptr;  // [rows, (heads + 2 kv_heads) * head_dim]
  float* out = nullptr;  // [rows, heads * head_dim]
  void* keys = nullptr;  // [blocks, kv_heads, block_size, head_dim]
  void* values = nullptr;
  KvType type = KvType::f16;  // of keys and values; or f8
  int heads = 0;
  int kv_heads = 0;
  int head_dim = 0;    // at most kMostHeadDim, whole units of head_dim_unit()
  int block_size = 0;  // a multiple of 16
  int window = 0;      // 0: all earlier positions
  float scale = 1.0f;
  const float* q_norm = nullptr;  // [head_dim], or none
  const float* k_norm = nullptr;
  float epsilon = 0.0f;
  Rotation rotations[2];
  int half = 0;  // pairs of a head that are rotated
};

constexpr int kMostHeadDim = 256;
constexpr int kMostGroup = 64;  // query heads that share a KV head

// Of 16 bytes of the cache.
constexpr int head_dim_unit(KvType type) { return type == KvType::f8 ? 16 : 8; }

// Tokens of a prompt tile where `group` query heads share a KV head; at least 1.
int prompt_tile_tokens(const Stream& stream, int head_dim, int group);

// What decoding needs for `parts` parts.
int64_t decode_partial_floats(int64_t parts, int heads, int kv_heads, int head_dim);
int64_t decode_arrivals(int64_t parts, int heads, int kv_heads);

// Enqueues the attention of a step: of tokens alone in their step, and of chunks.
void attend(const Stream& stream, const AttentionStep& step, const Attention& attention);

// The two halves of it.
void attend_decode(const Stream& stream, const AttentionStep& step, const Attention& attention);
void attend_prompts(const Stream& stream, const AttentionStep& step, const Attention& attention);

}  // namespace dinfer::cuda
