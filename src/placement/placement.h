#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"

namespace dinfer {

struct Range {
  int64_t begin = 0;
  int64_t end = 0;  // exclusive
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// The part of every owned unit that one rank of a tensor-parallel group holds.
struct TensorShard {
  int rank = 0;    // within the group
  int size = 1;
  Range heads;     // query heads
  Range kv_heads;  // replicated where ranks outnumber them
  Range ffn;       // columns of gate and up, rows of down's input
  Range vocab;     // rows of embedding and head
};

// A run of units with one owner: layers [begin, end), with the embedding and the head where marked.
struct Stage {
  Range layers;
  bool embed = false;
  bool head = false;
  std::vector<int> ranks;  // the tensor-parallel group that owns it
};

// Who owns what: data, decided once before any weight is read, the same on all ranks.
struct Placement {
  std::vector<Stage> stages;
  std::vector<TensorShard> shards;  // by rank
};

// One stage over all ranks. Query heads must divide by `ranks`; KV heads divide, or `ranks` divides
// by them. Otherwise Error(config) that lists the counts that work. FFN cuts fall on multiples of
// `ffn_alignment` (the quantisation group) and may be uneven; vocabulary cuts may be uneven too.
Placement tensor_parallel(const ModelConfig& config, int ranks, int64_t ffn_alignment);

// The rank counts up to `most` that tensor_parallel accepts, ascending.
std::vector<int> tensor_parallel_sizes(const ModelConfig& config, int most);

}  // namespace dinfer
