#pragma once

#include "checkpoint/model_config.h"
#include "cli/options.h"
#include "cli/start.h"
#include "cli/start_layout.h"
#include "engine/scheduler.h"
#include "model/transformer.h"

namespace dinfer {

// What steps may hold, but for the KV blocks, which memory decides later. `any_gpu`: whether a rank
// of the job has one. Error(config) as wanted_seq_len has it.
SchedulerLimits choose_limits(const Options& options, const StartRequest& request,
                              const ModelConfig& config, const Layout& layout, bool any_gpu);

// The same for the model.
StepLimits step_limits(const SchedulerLimits& limits, bool deterministic);

}  // namespace dinfer
