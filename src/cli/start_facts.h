#pragma once

#include <string>

#include "base/kv_type.h"
#include "bootstrap/agree.h"
#include "checkpoint/model_config.h"
#include "cli/options.h"
#include "cli/start.h"
#include "cli/start_layout.h"
#include "device/device.h"

namespace dinfer {

// What ranks must have alike before they do anything together: program, command, options.
Facts option_facts(const Options& options, const StartRequest& request);

// What they must have alike before they load: `identity` of the model, shape, layout, device.
Facts model_facts(const std::string& identity, const ModelConfig& config, const Layout& layout,
                  DeviceKind device, KvType kv_type);

}  // namespace dinfer
