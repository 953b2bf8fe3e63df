#include "cli/start_model.h"

#include "base/log.h"
#include "checkpoint/packed_weight.h"
#include "cli/start_layout.h"

namespace dinfer {

namespace {

// Quantised weights whose form the devices do not have take more memory than their files.
void say_what_grows(const Checkpoint& checkpoint) {
  int fp8 = 0, by_activation = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (!tensor.packed || stored_group(tensor) > 0) continue;
    ++(tensor.packed->layout == CodeLayout::fp8 ? fp8 : by_activation);
  }
  constexpr const char* kAdvice = "--quant 8 or 4 groups them anew";
  if (fp8 > 0) log::info("weights: {} FP8 matrices are held as f16; {}", fp8, kAdvice);
  if (by_activation > 0) {
    log::info("weights: {} matrices whose inputs are grouped by activation are held as f16; {}",
              by_activation, kAdvice);
  }
}

}  // namespace

WeightBytes ModelSource::weight_bytes(const Shard& shard) const {
  return checkpoint ? planned_weight_bytes(*checkpoint, config, shard, quant)
                    : random_weight_bytes(config, shard, quant);
}

ModelWeights ModelSource::load(const Shard& shard, Device& device,
                               const LoadProgress& progress) const {
  return checkpoint ? load_weights(*checkpoint, config, shard, quant, device, progress)
                    : random_weights(config, shard, quant, device, 1);
}

ModelSource open_model(const Options& options, const StartRequest& request) {
  ModelSource model;
  if (request.shape) {
    model.config = *request.shape;
    model.identity = options.shape;
  } else {
    model.files = locate_model(options.model, options.revision);
    model.checkpoint = open_checkpoint(model.files);
    model.config = read_model_config(model.files);
    check_tensors(*model.checkpoint, model.config);
    say_what_grows(*model.checkpoint);
    model.identity = model.checkpoint->fingerprint();
  }
  model.quant = wanted_quantization(options, model.config);
  return model;
}

ModelConfig wanted_config(const Options& options, const StartRequest& request) {
  return request.shape ? *request.shape
                       : read_model_config(locate_model(options.model, options.revision));
}

}  // namespace dinfer
