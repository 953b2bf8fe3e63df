#pragma once

#include <memory>

#include "device/device.h"

namespace dinfer {

class GpuStream;

// GPUs that this process may use; 0 where there is no driver or no GPU. A driver that is too old is
// an Error(device).
int visible_gpus();

// GPU `ordinal` of the visible ones as one rank's device.
std::unique_ptr<Device> make_gpu_device(int ordinal);

// The stream on which a device made above queues everything; lives as long as the device.
GpuStream& stream_of(Device& device);

}  // namespace dinfer
