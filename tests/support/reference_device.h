#pragma once

#include <memory>

#include "device/device.h"

namespace dinfer {

// The oracle of every backend: each operation of Device as the plain loop that its comment
// describes, in f32 with double sums, on one thread, with no knowledge of any instruction set.
// Weights are held as the f32 values they stand for; the KV cache is f32.
std::unique_ptr<Device> make_reference_device();

}  // namespace dinfer
