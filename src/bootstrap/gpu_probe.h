#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/deadline.h"

namespace dinfer {

// The NVIDIA driver and NCCL as found at run time. Both are opened by dlopen, so that a binary
// built with CUDA starts on a machine that has neither.
struct GpuProbe {
  std::string driver;             // CUDA version the driver supports, e.g. "13.0"; empty: no driver
  std::vector<std::string> gpus;  // names of the visible GPUs, by ordinal
  std::vector<uint64_t> memory;   // bytes of each, in use or not
  std::string nccl;               // version, e.g. "2.28.9"; empty: not found
  std::string note;               // why there is no driver, no GPU or no NCCL
};

GpuProbe probe_gpus();

// The same by a child process, names left out: a process that forks its ranks must not have started
// the driver. A driver that does not answer by the deadline is an Error(device).
GpuProbe probe_gpus_from_afar(Deadline deadline);

}  // namespace dinfer
