#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/model_config.h"
#include "cli/options.h"

namespace dinfer {

// More are not planned.
inline constexpr int kMostDevices = 4096;

// What a kind of device does, as far as speed depends on it.
struct DeviceKindSpec {
  std::string name;       // "H200", "CPU"
  uint64_t memory = 0;    // bytes
  double read_gb_s = 0;   // of its memory, by a kernel that only reads; all ranks of a host at once
  double alone_gb_s = 0;  // while its host's other ranks rest, which share its memory; 0: the same
  int sharers = 1;        // ranks of its host that share the memory
  double tflops = 0;      // products of large bf16 matrices, sustained
  double code_tflops = 0;  // those of matrices of 4 or 8 bits
  bool linked = false;     // to its like on the same host by NVLink
  bool hopper = false;     // has the products of warpgroups
  bool measured = false;   // the figures of its kernels are dinfer's own
  bool cpu = false;
};

struct PlannedDevice {
  DeviceKindSpec kind;
  int node = 0;
  uint64_t free = 0;  // bytes, once the driver and what ranks talk through have theirs
};

// The devices of a job: those of each node follow each other, its CPU (at most one) last.
struct PlannedMachines {
  std::vector<PlannedDevice> devices;
  int nodes = 1;
  bool nccl = true;  // for GPUs
  std::string text;  // "8 x H200", "this machine: 2 CPU ranks, 2 cores on 1 socket"

  int gpus() const;
};

// --devices: items KIND, COUNTxKIND or NODESxCOUNTxKIND, separated by commas; after the kind its
// memory may follow, as in "2xH100:40GiB,cpu:256GiB". Whatever is no such list is an Error(usage)
// that names the known kinds.
PlannedMachines parse_devices(const std::string& text);

// --memory-limit: devices have no more free. Error(config) that names a device that is not there.
void limit_memory(PlannedMachines& machines, const std::string& limits);

// Whether a device calls itself by a name of this kind: "NVIDIA H200".
bool is_device_kind(const DeviceKindSpec& kind, const std::string& name);

// The GPUs of this machine, and its CPU for offload; the CPU alone where there are none or --cpu is
// given: as many ranks as --tp, --pp and --dp ask for or a mapping names, what they read and
// multiply measured.
PlannedMachines this_machine(const Options& options, const ModelConfig& config);

}  // namespace dinfer
