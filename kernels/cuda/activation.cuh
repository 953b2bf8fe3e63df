#pragma once

#include "base/activation.h"

namespace dinfer::cuda {

// The same functions as the CPU's (kernels/cpu/activations.cpp).
__device__ inline float activate(Activation activation, float x) {
  switch (activation) {
    case Activation::silu:
      return x / (1.0f + expf(-x));
    case Activation::gelu:
      return 0.5f * x * (1.0f + erff(x * 0.70710678f));
    case Activation::gelu_tanh:
      break;
  }
  // 0.5 x (1 + tanh(y)) = x / (1 + exp(-2y)), y = sqrt(2/pi) (x + 0.044715 x^3)
  const float y = 0.7978845608f * (x + 0.044715f * x * x * x);
  return x / (1.0f + expf(-2.0f * y));
}

}  // namespace dinfer::cuda
