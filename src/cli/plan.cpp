#include "cli/plan.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"
#include "bootstrap/launcher.h"
#include "cli/output.h"
#include "cli/plan_calibration.h"
#include "cli/plan_emit.h"
#include "cli/plan_report.h"

namespace dinfer {
namespace {

// Those that fit first, the fastest for one sequence first; equally fast ones by throughput.
bool is_better(const PlannedLayout& a, const PlannedLayout& b) {
  const auto rank = [](const Evaluation& e) {
    return std::tuple(e.problem.empty(), e.single.tok_s, e.saturated.tok_s);
  };
  return rank(a.evaluation) > rank(b.evaluation);
}

PlanReport make_report(const Options& options, const PlannedModel& model,
                       const PlannedMachines& machines, const Calibration& calibration) {
  const auto evaluated = [&](LayoutChoice candidate) {
    Evaluation evaluation = evaluate(options, model, machines, candidate, calibration);
    return PlannedLayout{std::move(candidate), std::move(evaluation)};
  };
  PlanReport report{.model = model.name(),
                    .layers = model.config().layers,
                    .block_size = options.kv_block_size,
                    .machines = machines,
                    .chosen = evaluated(chosen_layout(options, model, machines))};
  for (LayoutChoice& candidate : other_layouts(options, model, machines, report.chosen.candidate))
    report.others.push_back(evaluated(std::move(candidate)));
  std::ranges::stable_sort(report.others, is_better);
  return report;
}

}  // namespace

int plan_command(const Options& options) {
  if (options.model.empty() == options.shape.empty()) {
    fail(ExitCode::usage, "plan needs a model: either --model, or --shape for one without files");
  }
  const PlannedModel model(options);
  PlannedMachines machines = options.devices.empty() ? this_machine(options, model.config())
                                                     : parse_devices(options.devices);
  if (is_nccl_forbidden([](const char* name) { return std::getenv(name); })) machines.nccl = false;
  limit_memory(machines, options.memory_limit);
  const Calibration calibration = options.calibration.empty()
                                      ? Calibration()
                                      : Calibration(options.calibration, options, machines);
  const PlanReport report = make_report(options, model, machines, calibration);
  write_output(options.json ? plan_json(report) : plan_table(report));
  if (!report.chosen.evaluation.problem.empty()) return static_cast<int>(ExitCode::does_not_fit);
  if (!options.emit.empty()) emit_files(options, report);
  return 0;
}

}  // namespace dinfer
