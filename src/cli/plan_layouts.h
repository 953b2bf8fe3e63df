#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "cli/options.h"
#include "cli/plan_devices.h"
#include "cli/plan_speed.h"
#include "cli/start_memory.h"
#include "model/transformer.h"
#include "placement/placement.h"
#include "placement/split.h"
#include "quant/quantize.h"

namespace dinfer {

// The model as far as its sizes: of files, or of a shape.
class PlannedModel {
 public:
  explicit PlannedModel(const Options& options);

  const std::string& name() const { return name_; }
  const ModelConfig& config() const { return config_; }
  // What --quant and the topology ask for.
  const QuantChoice& quant() const { return quant_; }
  // That ask for such a form, each with a space before it.
  std::string options_of(const QuantChoice& quant) const;
  // Whether any matrix is plain in the files, so that quantising it would change something.
  bool is_plain() const;

  WeightBytes weight_bytes(const Shard& shard, const QuantChoice& quant) const;
  CutRules rules(const QuantChoice& quant) const;
  // The rank counts up to `most` that may share layers, ascending.
  std::vector<int> tensor_parallel_sizes(int most) const;
  KvType kv_type() const { return kv_type_; }

 private:
  std::string name_;
  ModelConfig config_;
  std::unique_ptr<Checkpoint> checkpoint_;  // none with a shape
  QuantChoice quant_;
  std::string topology_;
  HeadRule heads_ = HeadRule::even;
  KvType kv_type_ = KvType::f16;
};

// What the automatic split of a start with these options asks for.
UnitNeeds split_needs(const Options& options, const PlannedModel& model, const QuantChoice& quant);

// A way to lay the model out, before it is known to fit.
struct LayoutChoice {
  std::string mode;  // single, tensor-parallel, layer-map, hybrid
  int tp = 1, pp = 1, dp = 1;
  Placement placement;       // of each replica
  std::vector<int> devices;  // by rank of the job: index into PlannedMachines::devices
  std::string options;       // that ask for it: "--tp 2 --pp 2", "-n \"0:20;1:12\""
  QuantChoice quant;
  std::string note;  // what decided it, where there is something to say

  // What a rank of the job owns in its replica.
  const Shard& shard_of(int rank) const {
    return placement.shards[static_cast<size_t>(rank) % placement.shards.size()];
  }
};

// Of those that the layout takes.
int nodes_of(const LayoutChoice& layout, const PlannedMachines& machines);

// The one that the options ask for, or that a command on these devices would take by itself.
LayoutChoice chosen_layout(const Options& options, const PlannedModel& model,
                           const PlannedMachines& machines);

// Other sizes of groups, layers over devices, both together, copies of the model, the automatic
// split with and without the CPU, each as stored and quantised; without the chosen one.
std::vector<LayoutChoice> other_layouts(const Options& options, const PlannedModel& model,
                                        const PlannedMachines& machines,
                                        const LayoutChoice& chosen);

// One kind of load: tokens a second, and the most that memory and arithmetic allow.
struct SpeedEstimate {
  double tok_s = 0;
  double bound_tok_s = 0;
  int64_t sequences = 1;
};

struct Evaluation {
  std::string problem;             // why it does not fit; empty: it does
  std::vector<RankMemory> memory;  // by rank
  KvPlan kv;                       // of each replica
  SpeedEstimate single;            // one sequence
  SpeedEstimate saturated;         // as many as --max-seqs and the KV cache allow
  StageTime times;                 // of one sequence's step, all stages
  double handovers = 0;            // microseconds, likewise
  double error = 0;                // of both estimates, as a share
};

// Tokens of the prompt and of the answer of each request, and of the context of a single sequence,
// in the estimates.
inline constexpr int64_t kPlannedPrompt = 128, kPlannedAnswer = 256, kPlannedContext = 192;

class Calibration;

// The most that a step of a planned job may hold.
StepLimits planned_limits(const Options& options, const ModelConfig& config, bool gpus);

// Microseconds of a step, all stages one after the other.
double step_us(const PlannedModel& model, const PlannedMachines& machines,
               const LayoutChoice& candidate, const StepShape& step);

Evaluation evaluate(const Options& options, const PlannedModel& model,
                    const PlannedMachines& machines, const LayoutChoice& candidate,
                    const Calibration& calibration);

// What takes the most of a single sequence's step: "reading weights (68%)".
std::string bottleneck_of(const Evaluation& evaluation);

}  // namespace dinfer
