#pragma once

#include <cstdint>

#include "cli/plan_devices.h"

namespace dinfer {

// What a stage holds and does, as far as its time depends on it; of one rank of its group.
struct StageWork {
  DeviceKindSpec device;       // the slowest of the group
  int ranks = 1;               // of the group
  int nodes = 1;               // that the group spans
  double layers = 0;           // halves are an attention or an MLP alone
  double read_bytes = 0;       // of matrices, in each step; the head's included
  double elements = 0;         // of the layers' matrices, without experts'
  double head_elements = 0;    // 0: the head is not here
  double kv_bytes = 0;         // of a token
  double attention_width = 0;  // query heads x their width
  double hidden = 0;
  bool post_norms = false;     // what a layer adds is normed
  double expert_bytes = 0;     // of all experts
  double expert_elements = 0;  // of those that a token meets
  double chosen_share = 0;     // of all experts that a token meets
};

// Tokens that a stage takes at once.
struct StepShape {
  double rows = 1;  // tokens
  double sequences = 1;
  double context = 0;   // tokens of each sequence before
  bool prompt = false;  // rows are those of prompts; else one of each sequence
};

// Where the time of a step goes, in microseconds.
struct StageTime {
  double reading = 0;    // or multiplying, where that takes longer
  double attention = 0;  // reading keys and values; their products, of prompts
  double kernels = 0;    // what each kernel takes beside both
  double sums = 0;       // of partial products over the group
  double total() const { return reading + attention + kernels + sums; }
};

StageTime stage_time(const StageWork& work, const StepShape& step);

// What a layer's kernels take beside reading, of a step with one row, in microseconds.
double layer_time(const DeviceKindSpec& device);

// The same group while no other one of its hosts has anything to do.
StageWork undisturbed(StageWork work);

// The least time that memory and arithmetic allow: no kernel is faster.
double least_stage_time(const StageWork& work, const StepShape& step);

// To hand `bytes` from a stage to the next, in microseconds.
double handover_time(double bytes, bool peers, bool same_node);

}  // namespace dinfer
