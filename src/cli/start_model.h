#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "checkpoint/checkpoint.h"
#include "checkpoint/model_config.h"
#include "checkpoint/model_files.h"
#include "cli/options.h"
#include "cli/start.h"
#include "model/weights.h"
#include "placement/placement.h"
#include "quant/quantize.h"

namespace dinfer {

// The model of a job: that of --model, or random weights of a shape.
struct ModelSource {
  ModelFiles files;
  std::unique_ptr<Checkpoint> checkpoint;  // none with a shape
  ModelConfig config;
  QuantChoice quant;
  std::string identity;  // equal on ranks that have the same model

  WeightBytes weight_bytes(const Shard& shard) const;  // about, on the device
  ModelWeights load(const Shard& shard, Device& device, const LoadProgress& progress) const;
};

// Opens and checks its files. Error(model_files) or Error(config) where they are not fit for use.
ModelSource open_model(const Options& options, const StartRequest& request);

// Its config alone.
ModelConfig wanted_config(const Options& options, const StartRequest& request);

}  // namespace dinfer
