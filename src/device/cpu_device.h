#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "device/device.h"

namespace dinfer {

enum class CpuMath : uint8_t {
  automatic,  // activations of 15 bits where weights are quantised, of 16 where AMX multiplies them
              // with f16 and bf16 weights; f16 KV cache
  f32,        // exact: f32 activations and KV cache
};

struct CpuOptions {
  int threads = 1;
  CpuMath math = CpuMath::automatic;
  std::vector<int> cores;  // OS indices to bind to, one a thread; empty: not bound
  bool tiles = true;       // AMX, where the machine has it
};

// The CPU of this host as one rank's device. Kernels are chosen for the instruction set at run
// time.
std::unique_ptr<Device> make_cpu_device(const CpuOptions& options);

// The instruction set the kernels use on this machine, e.g. "AVX3_DL", and whether AMX is in use.
std::string cpu_kernel_target();

}  // namespace dinfer
