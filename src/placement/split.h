#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "placement/device_map.h"

namespace dinfer {

// What a unit costs, by unit.
struct UnitNeeds {
  std::vector<uint64_t> weights;  // bytes to hold
  std::vector<uint64_t> reads;    // bytes that a decoding step reads; none of the embedding's
  std::vector<uint64_t> kv;       // bytes of KV cache to hold
};

// What a device offers. The CPU, if any, comes last.
struct SplitDevice {
  DeviceName name;
  uint64_t room = 0;       // bytes for weights and KV cache
  double read_gb_s = 0;    // at which its kernels read weights
  double layer_us = 0;     // of a decoding step for each layer, beside reading
  double handover_us = 0;  // to take a hidden state from the device before
};

struct Split {
  DeviceMap map;
  std::vector<double> stage_us;  // by device of the map: its share of a decoding step
  std::string reason;            // for the log: what each device got, and what decided
};

// Shares out whole layers, in order, so that the slowest device of a decoding step is as fast as
// can be: with several steps under way that is the throughput. Devices that would gain less than 1%
// are left out, since each adds a handover to every token. The CPU gets layers only where the GPUs
// cannot hold them all; then the first ones and the embedding, as few as possible, since the head
// is read in every step. Error(does_not_fit) where all devices together lack the room.
Split split_layers(const UnitNeeds& units, const std::vector<SplitDevice>& devices);

}  // namespace dinfer
