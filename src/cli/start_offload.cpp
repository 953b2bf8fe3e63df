#include "cli/start_offload.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "cli/plan_layouts.h"
#include "placement/memory_limits.h"

namespace dinfer {
namespace {

// Of a GPU's memory, not counted on: what the driver, kernels and other programs have of it.
constexpr double kNotFree = 0.05;
constexpr uint64_t kTaken = uint64_t{700} << 20;

SplitDevice device_of(const Options& options, int ordinal, uint64_t bytes, uint64_t activations) {
  SplitDevice device{.name = {.ordinal = ordinal}, .read_gb_s = 1};
  const auto likely = static_cast<uint64_t>(static_cast<double>(bytes) * (1 - kNotFree));
  const uint64_t taken = kTaken + activations;
  device.room = limited_memory(options.memory_limit, device.name.text(), likely);
  device.room -= std::min(taken, device.room);
  return device;
}

}  // namespace

bool is_too_large(const Options& options, std::span<const uint64_t> gpus) {
  const PlannedModel model(options);
  const ModelConfig& config = model.config();
  const Shard whole = tensor_parallel(config, 1, model.rules(model.quant())).shards[0];
  const uint64_t activations =
      Transformer::activation_bytes(config, whole, planned_limits(options, config, true));
  // A KV cache that is asked for and has no room is refused, with or without a CPU.
  Options weights_first = options;
  weights_first.kv_blocks = 0;
  const UnitNeeds needs = split_needs(weights_first, model, model.quant());
  std::vector<SplitDevice> devices;
  for (const uint64_t bytes : gpus)
    devices.push_back(device_of(options, static_cast<int>(devices.size()), bytes, activations));
  try {
    split_layers(needs, devices);
    return false;
  } catch (const Error& error) {
    if (error.code() != ExitCode::does_not_fit) throw;
    return true;
  }
}

}  // namespace dinfer
