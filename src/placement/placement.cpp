#include "placement/placement.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/ranges.h>

#include "base/error.h"

namespace dinfer {
namespace {

// Vocabulary cuts fall on multiples of this where there are enough rows: whole cache lines of
// logits.
constexpr int64_t kVocabAlignment = 16;

// Of a request's tokens those that meet the head: the answer's, where it is twice as long as the
// prompt.
constexpr double kAnswerShare = 2.0 / 3;

// The head's work as so many layers.
double head_in_layers(const ModelConfig& config) {
  int64_t ffn = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) ffn += config.active_ffn(layer);
  const int64_t attention = 2 * (config.heads + config.kv_heads) * config.head_dim;
  return kAnswerShare * static_cast<double>(config.vocab) /
         (static_cast<double>(attention) +
          3 * static_cast<double>(ffn) / static_cast<double>(config.layers));
}

bool heads_fit(const ModelConfig& config, int64_t ranks) {
  const int64_t kv = config.kv_heads;
  return config.heads % ranks == 0 && (kv % ranks == 0 || ranks % kv == 0);
}

// What every rank needs one of, beside heads.
struct SharedPart {
  int64_t size;
  const char* what;
};

std::vector<SharedPart> shared_parts(const ModelConfig& config) {
  std::vector<SharedPart> parts{{config.vocab, "tokens in its vocabulary"},
                                {config.ffn, "columns in its MLPs"}};
  if (config.experts.count > 0)
    parts.push_back({config.experts.ffn, "columns in each of its experts"});
  return parts;
}

bool fits(const ModelConfig& config, int64_t ranks, HeadRule rule) {
  const bool heads = rule == HeadRule::uneven ? ranks <= config.heads : heads_fit(config, ranks);
  return ranks >= 1 && heads &&
         std::ranges::all_of(shared_parts(config),
                             [&](const SharedPart& part) { return ranks <= part.size; });
}

// Part `index` of `parts` of [0, size), cut on multiples of `alignment`, as even as that allows and
// never empty: where there are fewer multiples than parts, the alignment is halved.
Range cut(int64_t size, int64_t parts, int64_t index, int64_t alignment) {
  while (alignment > 1 && (size + alignment - 1) / alignment < parts) alignment /= 2;
  const int64_t units = (size + alignment - 1) / alignment;
  auto boundary = [&](int64_t i) { return std::min(size, units * i / parts * alignment); };
  return {boundary(index), boundary(index + 1)};
}

// The attention heads of one rank: whole KV heads with all their query heads, or, where ranks
// outnumber KV heads, a part of the query heads of one.
struct Heads {
  Range query, kv;
};

Heads heads_of(const ModelConfig& config, int64_t ranks, int64_t rank) {
  const int64_t per_kv = config.heads / config.kv_heads;
  if (ranks <= config.kv_heads) {
    const Range kv = cut(config.kv_heads, ranks, rank, 1);
    return {{kv.begin * per_kv, kv.end * per_kv}, kv};
  }
  int64_t head = 0;  // the KV head whose ranks this one is among
  while (cut(ranks, config.kv_heads, head, 1).end <= rank) ++head;
  const Range sharers = cut(ranks, config.kv_heads, head, 1);
  const Range part = cut(per_kv, sharers.size(), rank - sharers.begin, 1);
  return {{head * per_kv + part.begin, head * per_kv + part.end}, {head, head + 1}};
}

void check_divides(const ModelConfig& config, int ranks, HeadRule rule) {
  if (fits(config, ranks, rule)) return;
  for (const auto& [size, what] : shared_parts(config))
    if (ranks > size)
      fail(ExitCode::config,
           "tensor parallelism over {} ranks: the model has {} {}, and each rank needs one", ranks,
           size, what);
  if (rule == HeadRule::uneven)
    fail(ExitCode::config,
         "tensor parallelism over {} ranks: the model has {} query heads, and each rank needs one",
         ranks, config.heads);
  const auto most = static_cast<int>(std::min<int64_t>(config.heads, 1 << 20));
  fail(ExitCode::config,
       "tensor parallelism over {} ranks cannot split this model: {} query heads must divide by "
       "the ranks, and {} KV heads divide by the ranks or the ranks by them; rank counts that "
       "work: {} (CUDA_VISIBLE_DEVICES, --tp or the launcher choose); --uneven-tp lets ranks have "
       "different numbers of heads",
       ranks, config.heads, config.kv_heads, fmt::join(tensor_parallel_sizes(config, most), ", "));
}

}  // namespace

std::string unit::name(int64_t unit, int64_t layers) {
  if (unit == kEmbed) return "embed";
  if (unit == head(layers)) return "head";
  const int64_t layer = (unit - 1) / 2;
  return fmt::format("L{}.{}", layer, unit == attention(layer) ? "attention" : "mlp");
}

bool Shard::owns(int64_t unit) const {
  return std::ranges::any_of(
      units, [unit](const Range& own) { return own.begin <= unit && unit < own.end; });
}

std::vector<int> Placement::group_of(int rank) const {
  const Shard& shard = shards.at(static_cast<size_t>(rank));
  for (const Stage& stage : stages)
    if (std::ranges::find(stage.ranks, rank) != stage.ranks.end()) return stage.ranks;
  check(shard.size == 1, "a group of several ranks owns units");
  return {rank};
}

std::vector<OwnStage> Placement::stages_of(int rank) const {
  std::vector<OwnStage> own;
  const auto place = static_cast<size_t>(shards.at(static_cast<size_t>(rank)).rank);
  for (size_t i = 0; i < stages.size(); ++i) {
    if (stages[i].ranks[place] != rank) continue;
    own.push_back({.units = stages[i].units,
                   .from = i > 0 ? stages[i - 1].ranks[place] : -1,
                   .to = i + 1 < stages.size() ? stages[i + 1].ranks[place] : -1});
  }
  return own;
}

Placement place(const ModelConfig& config, const std::vector<std::vector<int>>& groups,
                std::span<const int> owners, const CutRules& rules) {
  check(config.heads > 0 && config.kv_heads > 0, "a model has heads");
  check(!groups.empty() && rules.ffn_alignment >= 1,
        "there are ranks, and the alignment is positive");
  check(std::ssize(owners) == unit::count(config.layers), "every unit has an owner");
  const auto size = static_cast<int>(groups.front().size());
  check_divides(config, size, rules.heads);

  Placement placement;
  placement.shards.resize(groups.size() * groups.front().size());
  for (const std::vector<int>& group : groups) {
    check(std::ssize(group) == size, "groups are of one size");
    for (int index = 0; index < size; ++index) {
      const Heads heads = heads_of(config, size, index);
      placement.shards.at(static_cast<size_t>(group[static_cast<size_t>(index)])) = {
          .rank = index,
          .size = size,
          .heads = heads.query,
          .kv_heads = heads.kv,
          .ffn = cut(config.ffn, size, index, rules.ffn_alignment),
          .expert_ffn = cut(config.experts.ffn, size, index, rules.ffn_alignment),
          .vocab = cut(config.vocab, size, index, kVocabAlignment),
      };
    }
  }
  for (int64_t u = 0; u < std::ssize(owners); ++u) {
    const int owner = owners[static_cast<size_t>(u)];
    if (u > 0 && owner == owners[static_cast<size_t>(u - 1)])
      placement.stages.back().units.end = u + 1;
    else
      placement.stages.push_back({{u, u + 1}, groups.at(static_cast<size_t>(owner))});
  }
  for (const Stage& stage : placement.stages)
    for (int rank : stage.ranks)
      placement.shards.at(static_cast<size_t>(rank)).units.push_back(stage.units);
  return placement;
}

Placement tensor_parallel(const ModelConfig& config, int ranks, const CutRules& rules) {
  return pipeline(config, ranks, 1, rules);
}

Placement pipeline(const ModelConfig& config, int tp, int stages, const CutRules& rules) {
  check(tp >= 1 && stages >= 1, "there are ranks");
  if (stages > config.layers)
    fail(ExitCode::config, "--pp {}: the model has {} layers, and each stage needs one: --pp {}",
         stages, config.layers, config.layers);
  const double work = (static_cast<double>(config.layers) + head_in_layers(config)) / stages;
  std::vector<std::vector<int>> groups(static_cast<size_t>(stages));
  std::vector<int> owners{0};
  int64_t layer = 0;
  for (int stage = 0; stage < stages; ++stage) {
    std::vector<int>& group = groups[static_cast<size_t>(stage)];
    group.resize(static_cast<size_t>(tp));
    std::iota(group.begin(), group.end(), stage * tp);
    const int64_t most = config.layers - (stages - stage - 1);  // each stage after it needs one
    const int64_t end = std::min<int64_t>(std::llround(work * (stage + 1)), most);
    owners.insert(owners.end(), static_cast<size_t>(2 * (end - layer)), stage);
    layer = end;
  }
  owners.push_back(stages - 1);
  return place(config, groups, owners, rules);
}

std::vector<int> tensor_parallel_sizes(const ModelConfig& config, int most, HeadRule heads) {
  std::vector<int> sizes;
  for (int ranks = 1; ranks <= most; ++ranks) {
    if (fits(config, ranks, heads)) sizes.push_back(ranks);
  }
  return sizes;
}

}  // namespace dinfer
