#pragma once

#include <string>

#include "checkpoint/model_config.h"

namespace dinfer {

// The configuration of a published model, for random weights: no files needed. An unknown name is
// an Error(usage) that lists the known ones.
ModelConfig published_shape(const std::string& name);
bool is_published_shape(const std::string& name);

}  // namespace dinfer
