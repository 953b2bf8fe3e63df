#include "placement/placement.h"

#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include "base/error.h"

namespace dinfer {
namespace {

// Vocabulary cuts fall on multiples of this where there are enough rows: whole cache lines of
// logits.
constexpr int64_t kVocabAlignment = 16;

bool heads_fit(const ModelConfig& config, int64_t ranks) {
  const int64_t kv = config.kv_heads;
  return config.heads % ranks == 0 && (kv % ranks == 0 || ranks % kv == 0);
}

bool fits(const ModelConfig& config, int64_t ranks) {
  return ranks >= 1 && heads_fit(config, ranks) && ranks <= config.ffn && ranks <= config.vocab;
}

// Part `index` of `parts` of [0, size), cut on multiples of `alignment`, as even as that allows and
// never empty: where there are fewer multiples than parts, the alignment is halved.
Range cut(int64_t size, int64_t parts, int64_t index, int64_t alignment) {
  while (alignment > 1 && (size + alignment - 1) / alignment < parts) alignment /= 2;
  const int64_t units = (size + alignment - 1) / alignment;
  auto boundary = [&](int64_t i) { return std::min(size, units * i / parts * alignment); };
  return {boundary(index), boundary(index + 1)};
}

Range kv_heads_of(const ModelConfig& config, int64_t ranks, int64_t rank) {
  if (ranks <= config.kv_heads) return cut(config.kv_heads, ranks, rank, 1);
  const int64_t head = rank / (ranks / config.kv_heads);
  return {head, head + 1};
}

}  // namespace

Placement tensor_parallel(const ModelConfig& config, int ranks, int64_t ffn_alignment) {
  check(config.heads > 0 && config.kv_heads > 0, "a model has heads");
  check(ranks >= 1 && ffn_alignment >= 1, "ranks and alignment are positive");
  if (!fits(config, ranks)) {
    const auto most = static_cast<int>(std::min<int64_t>(config.heads, 1 << 20));
    fail(ExitCode::config,
         "tensor parallelism over {} ranks cannot split this model: {} query heads must divide by "
         "the ranks, and {} KV heads divide by the ranks or the ranks by them; rank counts that "
         "work: {} (CUDA_VISIBLE_DEVICES, --tp or the launcher choose)",
         ranks, config.heads, config.kv_heads,
         fmt::join(tensor_parallel_sizes(config, most), ", "));
  }

  Placement placement;
  Stage stage{.layers = {0, config.layers}, .embed = true, .head = true};
  stage.ranks.resize(static_cast<size_t>(ranks));
  std::iota(stage.ranks.begin(), stage.ranks.end(), 0);
  placement.stages.push_back(std::move(stage));
  for (int rank = 0; rank < ranks; ++rank) {
    placement.shards.push_back({
        .rank = rank,
        .size = ranks,
        .heads = cut(config.heads, ranks, rank, 1),
        .kv_heads = kv_heads_of(config, ranks, rank),
        .ffn = cut(config.ffn, ranks, rank, ffn_alignment),
        .vocab = cut(config.vocab, ranks, rank, kVocabAlignment),
    });
  }
  return placement;
}

std::vector<int> tensor_parallel_sizes(const ModelConfig& config, int most) {
  std::vector<int> sizes;
  for (int ranks = 1; ranks <= most; ++ranks) {
    if (fits(config, ranks)) sizes.push_back(ranks);
  }
  return sizes;
}

}  // namespace dinfer
