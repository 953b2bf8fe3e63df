#pragma once

#include <cstdint>

namespace dinfer {

// The non-linearity of a gated MLP: activation(gate) * up.
enum class Activation : uint8_t { silu, gelu, gelu_tanh };

}  // namespace dinfer
