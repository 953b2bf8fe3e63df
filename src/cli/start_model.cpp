#include "cli/start_model.h"

#include "cli/start_layout.h"

namespace dinfer {

uint64_t ModelSource::weight_bytes(const Shard& shard) const {
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
