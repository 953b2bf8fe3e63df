#pragma once

#include <cstdint>
#include <span>
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

// The units of a model by number, in their order: the embedding, attention and MLP of each layer,
// the head (with the norm before it). Each but the first takes a hidden state, each but the last
// gives one.
namespace unit {
inline constexpr int64_t kEmbed = 0;
constexpr int64_t attention(int64_t layer) { return 1 + 2 * layer; }
constexpr int64_t mlp(int64_t layer) { return 2 + 2 * layer; }
constexpr int64_t head(int64_t layers) { return 1 + 2 * layers; }
constexpr int64_t count(int64_t layers) { return 2 + 2 * layers; }

// "embed", "L3.attention", "L3.mlp", "head"
std::string name(int64_t unit, int64_t layers);
}  // namespace unit

// What one rank holds: of each of its units the part that is its own in the tensor-parallel group.
struct Shard {
  int rank = 0;  // within the group
  int size = 1;
  Range heads;               // query heads
  Range kv_heads;            // replicated where ranks outnumber them
  Range ffn;                 // of dense MLPs: rows of gate and up, columns of down
  Range expert_ffn;          // the same of each expert
  Range vocab;               // rows of embedding and head
  std::vector<Range> units;  // ascending, not adjoining

  bool owns(int64_t unit) const;
};

// Adjoining units with one owner: a tensor-parallel group of ranks, ascending.
struct Stage {
  Range units;
  std::vector<int> ranks;
};

// A stage as one of its ranks sees it. Hidden states travel between ranks of the same place in
// their groups.
struct OwnStage {
  Range units;
  int from = -1;  // the rank that gives its input; -1: it begins the model
  int to = -1;    // the rank that takes its output; -1: it ends the model
};

// Who owns what: data, decided once before any weight is read, the same on all ranks.
struct Placement {
  std::vector<Stage> stages;  // in the order of the units; adjoining ones have different owners
  std::vector<Shard> shards;  // by rank

  // The ranks of the group that `rank` is in.
  std::vector<int> group_of(int rank) const;

  // The stages of `rank`, in their order.
  std::vector<OwnStage> stages_of(int rank) const;
};

// Which numbers of heads the ranks of a group may have.
enum class HeadRule : uint8_t {
  even,    // the same: query heads divide by the ranks; KV heads do, or the ranks divide by them
  uneven,  // any, at least one: KV heads stay whole as long as there are as many as ranks
};

// How matrices are cut.
struct CutRules {
  CutRules(int64_t ffn_alignment,  // NOLINT(google-explicit-constructor)
           HeadRule heads = HeadRule::even)
      : ffn_alignment(ffn_alignment), heads(heads) {}
  int64_t ffn_alignment;  // FFN columns, experts' too, are cut on multiples of this: the
                          // quantisation group
  HeadRule heads;
};

// The units shared out to groups: unit u belongs to the group of ranks groups[owners[u]]. Groups
// are disjoint, of one size, and hold all ranks from 0; a group may own nothing. Heads that cannot
// be cut so are an Error(config) that lists the sizes that work. FFN and vocabulary cuts may be
// uneven.
Placement place(const ModelConfig& config, const std::vector<std::vector<int>>& groups,
                std::span<const int> owners, const CutRules& rules);

// One stage over all ranks.
Placement tensor_parallel(const ModelConfig& config, int ranks, const CutRules& rules);

// `stages` runs of whole layers, each owned by the next `tp` ranks, as even as can be in the work
// of a request, to which the head belongs: the last stage has fewer layers. More stages than
// layers: Error(config).
Placement pipeline(const ModelConfig& config, int tp, int stages, const CutRules& rules);

// The rank counts up to `most` that tensor_parallel accepts, ascending.
std::vector<int> tensor_parallel_sizes(const ModelConfig& config, int most,
                                       HeadRule heads = HeadRule::even);

}  // namespace dinfer
