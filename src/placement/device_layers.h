#pragma once

#include <string>

#include "checkpoint/model_config.h"
#include "placement/device_map.h"

namespace dinfer {

// The map of -n "0:44;1:20": so many layers of each device, in the order of the list; "cpu:12" puts
// layers on the CPU. The embedding goes with the first layer, the head with the last. What is no
// such list, names a device twice or gives it no layer is an Error(usage), a sum that is not the
// model's number of layers an Error(config); both show a list that would do.
DeviceMap map_device_layers(const std::string& text, const ModelConfig& config);

}  // namespace dinfer
