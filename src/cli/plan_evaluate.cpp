#include <algorithm>
#include <array>
#include <set>

#include "cli/plan_calibration.h"
#include "cli/plan_layouts.h"
#include "cli/start_layout.h"
#include "model/kv_cache.h"
#include "model/transformer.h"
#include "model/weights.h"

namespace dinfer {
namespace {

// Errors of estimates: where dinfer's own figures of such layouts on such devices were fitted; of
// layouts that were not measured, and of CPUs, which differ; of devices known by their data sheets.
constexpr double kFitted = 0.12, kNotMeasured = 0.25, kByDataSheet = 0.35;
constexpr int kMeasuredRanks = 2;

Shard only(Shard shard, std::vector<Range> units) {
  shard.units = std::move(units);
  return shard;
}

// A layout's stages as work, with the bytes of each rank's shard. Replicas take their steps side by
// side: a stage is as slow as the slowest of them.
class LayoutModel {
 public:
  LayoutModel(const PlannedModel& model, const PlannedMachines& machines,
              const LayoutChoice& candidate)
      : model_(model), machines_(machines), candidate_(candidate) {
    for (const Stage& stage : candidate.placement.stages) stages_.push_back(work_of(stage));
  }

  int ranks() const { return static_cast<int>(candidate_.devices.size()); }

  bool has_gpu() const {
    for (int rank = 0; rank < ranks(); ++rank)
      if (!device(rank).kind.cpu) return true;
    return false;
  }

  const PlannedDevice& device(int rank) const {
    const int device = candidate_.devices[static_cast<size_t>(rank)];
    return machines_.devices[static_cast<size_t>(device)];
  }

  // Of the rank's matrices in these units.
  uint64_t bytes(int rank, std::vector<Range> units) const {
    return weights(rank, std::move(units)).all();
  }

  // One step through all stages, one after the other.
  StageTime step(const StepShape& shape) const {
    StageTime sum;
    for (const StageWork& work : stages_) {
      const StageTime time = stage_time(undisturbed(work), shape);
      sum.reading += time.reading;
      sum.attention += time.attention;
      sum.kernels += time.kernels;
      sum.sums += time.sums;
    }
    return sum;
  }

  double least_step(const StepShape& shape) const {
    double sum = 0;
    for (const StageWork& work : stages_) sum += least_stage_time(undisturbed(work), shape);
    return sum;
  }

  double handovers(double rows) const {
    double sum = 0;
    const auto& stages = candidate_.placement.stages;
    for (size_t i = 1; i < stages.size(); ++i) {
      const PlannedDevice& from = device(stages[i - 1].ranks[0]);
      const PlannedDevice& to = device(stages[i].ranks[0]);
      const bool peers = from.kind.linked && to.kind.linked && from.kind.name == to.kind.name;
      sum += handover_time(rows * static_cast<double>(model_.config().hidden) * sizeof(float),
                           peers, from.node == to.node);
    }
    return sum;
  }

  // The group that takes longest for its stages of a step; `least`: as fast as hardware allows.
  double slowest_group(const StepShape& shape, bool least) const {
    std::map<int, double> times;  // by first rank of the group
    for (size_t i = 0; i < stages_.size(); ++i) {
      times[candidate_.placement.stages[i].ranks[0]] +=
          least ? least_stage_time(stages_[i], shape) : stage_time(stages_[i], shape).total();
    }
    double slowest = 0;
    for (const auto& [rank, time] : times) slowest = std::max(slowest, time);
    return slowest;
  }

 private:
  WeightBytes weights(int rank, std::vector<Range> units) const {
    return counted("bytes", rank, std::move(units), [&](const Shard& shard) {
      return model_.weight_bytes(shard, candidate_.quant);
    });
  }

  // Two bytes for each element.
  WeightBytes as_bf16(int rank, Range units) const {
    return counted("elements", rank, {units}, [&](const Shard& shard) {
      return random_weight_bytes(model_.config(), shard, QuantChoice{});
    });
  }

  // `count` of a shard of these units, remembered for all ranks with shards of the same sizes.
  template <class Count>
  WeightBytes counted(const char* what, int rank, std::vector<Range> units,
                      const Count& count) const {
    const Shard& shard = candidate_.shard_of(rank);
    std::erase_if(units, [](const Range& range) { return range.size() <= 0; });
    std::string key =
        fmt::format("{} {} {} {} {} {}", what, shard.heads.size(), shard.kv_heads.size(),
                    shard.ffn.size(), shard.expert_ffn.size(), shard.vocab.size());
    for (const Range& range : units) key += fmt::format(" {}-{}", range.begin, range.end);
    const auto [known, is_new] = counts_.emplace(key, WeightBytes{});
    if (is_new) known->second = count(only(shard, std::move(units)));
    return known->second;
  }

  StageWork work_of(const Stage& stage) const {
    const ModelConfig& config = model_.config();
    const int64_t head = unit::head(config.layers);
    const Range layers{std::max<int64_t>(stage.units.begin, 1), std::min(stage.units.end, head)};
    const bool has_head = stage.units.end > head;
    StageWork work{.device = device(stage.ranks[0]).kind,
                   .ranks = static_cast<int>(stage.ranks.size()),
                   .layers = static_cast<double>(std::max<int64_t>(layers.size(), 0)) / 2,
                   .hidden = static_cast<double>(config.hidden),
                   .post_norms = config.post_norms};
    for (const int rank : stage.ranks)
      add_rank(work, rank, layers, has_head ? Range{head, head + 1} : Range{});
    const auto replica_ranks = static_cast<int>(candidate_.placement.shards.size());
    for (int first = 0; first < replica_ranks * candidate_.dp; first += replica_ranks) {
      std::set<int> nodes;
      for (const int rank : stage.ranks) {
        const PlannedDevice& own = device(first + rank);
        nodes.insert(own.node);
        if (own.kind.read_gb_s < work.device.read_gb_s) work.device = own.kind;
      }
      work.nodes = std::max(work.nodes, static_cast<int>(nodes.size()));
    }
    return work;
  }

  // The most of any rank of the group.
  void add_rank(StageWork& work, int rank, Range layers, Range head) const {
    const Shard& shard = candidate_.shard_of(rank);
    const auto most = [](double& value, double other) { value = std::max(value, other); };
    const WeightBytes of_layers = weights(rank, {layers});
    most(work.read_bytes, static_cast<double>(of_layers.always + bytes(rank, {head})));
    most(work.expert_bytes, static_cast<double>(of_layers.experts));
    work.chosen_share = model_.config().experts.share_of(1);
    const WeightBytes elements = as_bf16(rank, layers);
    most(work.elements, static_cast<double>(elements.always) / 2);
    most(work.expert_elements, static_cast<double>(elements.experts) / 2 * work.chosen_share);
    most(work.head_elements, static_cast<double>(as_bf16(rank, head).always) / 2);
    const size_t kv =
        KvCache::bytes_per_block(model_.config(), only(shard, {layers}), model_.kv_type(), 1);
    most(work.kv_bytes, static_cast<double>(kv));
    most(work.attention_width, static_cast<double>(shard.heads.size() * model_.config().head_dim));
  }

  const PlannedModel& model_;
  const PlannedMachines& machines_;
  const LayoutChoice& candidate_;
  std::vector<StageWork> stages_;
  mutable std::map<std::string, WeightBytes> counts_;
};

std::vector<RankMemory> memory_of(const Options& options, const PlannedModel& model,
                                  const LayoutModel& layout, const LayoutChoice& candidate,
                                  const StepLimits& limits) {
  const ModelConfig& config = model.config();
  std::vector<RankMemory> memory;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    const Shard& shard = candidate.shard_of(rank);
    const PlannedDevice& device = layout.device(rank);
    memory.push_back({.free = device.free,
                      .weights = layout.bytes(rank, shard.units),
                      .activations = Transformer::activation_bytes(config, shard, limits),
                      .position = Transformer::bytes_per_position(config, shard, limits.positions),
                      .kv_block = KvCache::bytes_per_block(config, shard, model.kv_type(),
                                                           options.kv_block_size),
                      .device = device.kind.name,
                      .shared = device.kind.cpu});
  }
  return memory;
}

double error_of(const LayoutModel& layout, const Calibration& calibration) {
  bool measured = true, cpu = false;
  for (int rank = 0; rank < layout.ranks(); ++rank) {
    measured = measured && layout.device(rank).kind.measured;
    cpu = cpu || layout.device(rank).kind.cpu;
  }
  const bool fitted = layout.ranks() <= kMeasuredRanks && !cpu;
  const double otherwise = !measured ? kByDataSheet : fitted ? kFitted : kNotMeasured;
  return calibration.error(otherwise, layout.device(0).kind.name);
}

// Requests that come one after another, each a prompt and an answer, as many at once as the limits
// and the KV cache allow.
SpeedEstimate saturated_speed(const LayoutChoice& candidate, const LayoutModel& layout,
                              int64_t kv_tokens, const StepLimits& limits,
                              const Calibration& calibration) {
  constexpr int64_t length = kPlannedPrompt + kPlannedAnswer;
  const int64_t sequences = std::clamp<int64_t>(kv_tokens / length, 1, limits.logit_rows);
  // Groups that own layers one after the other each work on a part of them.
  const double together = std::max(1.0, static_cast<double>(sequences) / candidate.pp);
  const StepShape decode{
      .rows = together, .sequences = together, .context = kPlannedPrompt + kPlannedAnswer / 2.0};
  const double prompts = std::min(16.0, static_cast<double>(limits.rows) / kPlannedPrompt);
  const StepShape prompt{.rows = prompts * kPlannedPrompt, .sequences = prompts, .prompt = true};
  const auto tokens_a_second = [&](bool least, const Calibration& by) {
    const double answer =
        kPlannedAnswer * layout.slowest_group(decode, least) / together / by.factor(together);
    const double reading = layout.slowest_group(prompt, least) / prompts / by.prompt_factor();
    return candidate.dp * kPlannedAnswer * 1e6 / (answer + reading);
  };
  return {.tok_s = tokens_a_second(false, calibration),
          .bound_tok_s = tokens_a_second(true, {}),
          .sequences = sequences * candidate.dp};
}

}  // namespace

double step_us(const PlannedModel& model, const PlannedMachines& machines,
               const LayoutChoice& candidate, const StepShape& step) {
  const LayoutModel layout(model, machines, candidate);
  return layout.step(step).total() + layout.handovers(step.rows);
}

Evaluation evaluate(const Options& options, const PlannedModel& model,
                    const PlannedMachines& machines, const LayoutChoice& candidate,
                    const Calibration& calibration) {
  Evaluation result;
  const LayoutModel layout(model, machines, candidate);
  const StepLimits limits = planned_limits(options, model.config(), layout.has_gpu());
  result.memory = memory_of(options, model, layout, candidate, limits);
  try {
    result.kv = plan_kv(options, limits.logit_rows, limits.positions, result.memory);
  } catch (const Error& error) {
    if (error.code() != ExitCode::does_not_fit) throw;
    result.problem = error.what();
    return result;
  }
  const StepShape one{.context = kPlannedContext};
  result.times = layout.step(one);
  result.handovers = layout.handovers(1);
  result.single = {.tok_s = 1e6 / (result.times.total() + result.handovers) * calibration.factor(1),
                   .bound_tok_s = 1e6 / layout.least_step(one)};
  result.saturated = saturated_speed(candidate, layout, result.kv.blocks * options.kv_block_size,
                                     limits, calibration);
  result.error = error_of(layout, calibration);
  return result;
}

std::string bottleneck_of(const Evaluation& evaluation) {
  const StageTime& t = evaluation.times;
  const std::array<std::pair<double, const char*>, 5> parts{{
      {t.reading, "reading weights"},
      {t.attention, "reading keys and values"},
      {t.kernels, "kernels beside reading"},
      {t.sums, "sums among ranks"},
      {evaluation.handovers, "hand-overs between stages"},
  }};
  const auto most = std::ranges::max_element(parts);
  const double all = t.total() + evaluation.handovers;
  return fmt::format("{} ({:.0f}%)", most->second, 100 * most->first / all);
}

}  // namespace dinfer
