#include "cli/start_model.h"

#include <string_view>

#include "base/log.h"
#include "checkpoint/model_tensors.h"
#include "checkpoint/packed_weight.h"
#include "cli/start_layout.h"

namespace dinfer {

namespace {

// Quantised weights that take more memory than their files, since devices do not have their form,
// and those of which --quant or isq asks for what it does not do.
void say_what_differs(const Checkpoint& checkpoint, const ModelConfig& config,
                      const QuantChoice& quant) {
  constexpr std::string_view suffix = ".weight";
  int kept = 0, fp8 = 0, by_activation = 0;
  for (const ModelTensor& needed : model_tensors(config)) {
    if (!needed.is_matrix()) continue;
    const TensorInfo& tensor = *checkpoint.find(needed.name);
    const bool asked = quant.of(needed.name.substr(0, needed.name.size() - suffix.size())).bits > 0;
    if (stored_group(tensor) > 0)
      kept += asked ? 1 : 0;
    else if (tensor.packed && !asked)
      ++(tensor.packed->layout == CodeLayout::fp8 ? fp8 : by_activation);
  }
  constexpr const char* kAdvice = "--quant 8 or 4 groups them anew";
  if (fp8 > 0) log::info("weights: {} FP8 matrices are held as f16; {}", fp8, kAdvice);
  if (by_activation > 0) {
    log::info("weights: {} matrices whose inputs are grouped by activation are held as f16; {}",
              by_activation, kAdvice);
  }
  if (kept > 0) {
    log::info(
        "weights: {} matrices stay as the files have quantised them; only plain ones become "
        "what --quant or isq asks for",
        kept);
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
    model.identity = model.checkpoint->fingerprint();
  }
  model.quant = wanted_quantization(options, model.config);
  if (model.checkpoint) say_what_differs(*model.checkpoint, model.config, model.quant);
  return model;
}

ModelConfig wanted_config(const Options& options, const StartRequest& request) {
  return request.shape ? *request.shape
                       : read_model_config(locate_model(options.model, options.revision));
}

}  // namespace dinfer
