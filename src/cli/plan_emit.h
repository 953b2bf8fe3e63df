#pragma once

#include "cli/options.h"
#include "cli/plan_report.h"

namespace dinfer {

// Writes files that start the chosen layout into --output, as --emit asks: plan-mpirun,
// plan.sbatch, plan-multinode or plan-ring, with what they need beside them. Says on standard error
// what it wrote. A folder that cannot be written to is an Error(config).
void emit_files(const Options& options, const PlanReport& report);

}  // namespace dinfer
