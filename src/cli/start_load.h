#pragma once

#include <memory>

#include "cli/start_layout.h"
#include "cli/start_model.h"
#include "cli/start_peers.h"
#include "engine/sampler.h"
#include "engine/scheduler.h"
#include "engine/worker.h"
#include "model/transformer.h"

namespace dinfer {

// What a rank computes steps with.
struct LoadedRank {
  std::unique_ptr<Transformer> model;
  std::unique_ptr<Sampler> sampler;  // where the rank owns the model's head
  std::unique_ptr<Worker> worker;
};

// What loading takes; all of it outlives what is loaded.
struct LoadTask {
  const ModelSource& source;
  const Layout& layout;
  const Bootstrap& boot;
  const RankPeers& peers;
  Device& device;
  KvType kv_type;
  const SchedulerLimits& limits;
  StepLimits step;
};

// The rank's slices of the weights and its KV cache. How far it is stands on the head's standard
// error.
LoadedRank load_rank(const LoadTask& task);

// Tokens through the whole model before the first request, on all ranks at once: memory is touched
// and kernels are chosen.
void warm_up(Transformer& model, Device& device, const SchedulerLimits& limits, bool any_gpu);

}  // namespace dinfer
