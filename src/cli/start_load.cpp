#include "cli/start_load.h"

#include <algorithm>
#include <numeric>

#include "cli/start_progress.h"

namespace dinfer {

namespace {

ModelWeights load_weights_with_report(const LoadTask& task, const Shard& shard) {
  if (task.boot.world.rank != 0 || !task.source.checkpoint)
    return task.source.load(shard, task.device, {});
  LoadReport report;
  ModelWeights weights = task.source.load(
      shard, task.device, [&](uint64_t done, uint64_t total) { report.update(done, total); });
  report.finish();
  return weights;
}

std::unique_ptr<Transformer> load_model(const LoadTask& task) {
  const int rank = task.boot.world.rank;
  const Shard& shard = task.layout.shard_of(rank);
  const ModelConfig& config = task.source.config;
  ModelWeights weights = load_weights_with_report(task, shard);
  KvCache cache(task.device, config, shard, task.kv_type, task.limits.block_size,
                task.limits.blocks);
  const ModelPeers peers{
      .group = task.peers.group(),
      .all = task.peers.replica(),
      .stages = task.layout.placement.stages_of(task.layout.place_of(rank)),
      .on_unit = [control = task.boot.control.get()] { control->note_progress(); }};
  return std::make_unique<Transformer>(task.device, peers, config, shard, std::move(weights),
                                       std::move(cache), task.step);
}

std::unique_ptr<Sampler> make_sampler(const LoadTask& task) {
  const Shard& own = task.layout.shard_of(task.boot.world.rank);
  if (!own.owns(unit::head(task.source.config.layers))) return nullptr;
  const Placement& placement = task.layout.placement;
  std::vector<Range> slices;
  for (const int place : placement.stages.back().ranks)
    slices.push_back(placement.shards[static_cast<size_t>(place)].vocab);
  return std::make_unique<Sampler>(task.device, task.peers.group(), std::move(slices));
}

std::unique_ptr<Worker> make_worker(const LoadTask& task, const LoadedRank& parts) {
  const Layout& layout = task.layout;
  const PlanLimits bounds{.slots = static_cast<uint32_t>(task.limits.max_seqs),
                          .blocks = task.limits.blocks,
                          .vocab = static_cast<int32_t>(task.source.config.vocab),
                          .rows = task.limits.max_batch_tokens,
                          .replicas = static_cast<uint32_t>(task.limits.replicas)};
  ResultRoute route{.all = task.peers.job(),
                    .reporters = {},
                    .replica = static_cast<uint32_t>(layout.replica_of(task.boot.world.rank))};
  for (int each = 0; each < layout.dp; ++each)
    route.reporters.push_back(layout.rank_at(layout.placement.stages.back().ranks.front(), each));
  return std::make_unique<Worker>(*parts.model, parts.sampler.get(), std::move(route), bounds,
                                  task.limits.max_seq_len, task.peers.calls());
}

void run_tokens(Transformer& model, const SchedulerLimits& limits, int64_t count) {
  const std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::vector<int32_t> blocks(
      static_cast<size_t>((count + limits.block_size - 1) / limits.block_size));
  std::iota(blocks.begin(), blocks.end(), 0);
  const int64_t row = count - 1;
  const SequenceChunk chunk{.tokens = count, .blocks = blocks};
  model.forward({.tokens = tokens,
                 .chunks = {&chunk, 1},
                 .length_limits = {&count, 1},
                 .logit_rows = {&row, 1}});
}

}  // namespace

LoadedRank load_rank(const LoadTask& task) {
  LoadedRank parts;
  parts.model = load_model(task);
  parts.sampler = make_sampler(task);
  parts.worker = make_worker(task, parts);
  return parts;
}

// On a GPU first the largest prompt of a step, for which all workspace is made, and one token more
// often, since repeated steps are recorded. Keys and values lie in the first blocks, which whoever
// takes them overwrites.
void warm_up(Transformer& model, Device& device, const SchedulerLimits& limits, bool any_gpu) {
  if (any_gpu) {
    const int64_t room = int64_t{limits.blocks} * limits.block_size;
    run_tokens(model, limits, std::min({limits.max_batch_tokens, limits.max_seq_len, room}));
    for (int i = 0; i < 2; ++i) run_tokens(model, limits, 1);
  }
  run_tokens(model, limits, 1);
  device.synchronize();
}

}  // namespace dinfer
