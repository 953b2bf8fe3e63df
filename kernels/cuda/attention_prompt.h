#pragma once

#include "kernels/cuda/attention.h"

namespace dinfer::cuda {

// Token-head pairs of a prompt tile.
constexpr int kPromptRows = 64, kPromptRowsOfWarpgroups = 128;

constexpr int kMostHeadDimOfWarpgroups = 128;

// Attention of the step's tiles, whose queries, keys and values have been prepared, on GPUs with
// warpgroups' products.
void attend_prompts_by_warpgroups(const Stream& stream, const AttentionStep& step,
                                  const Attention& attention);

}  // namespace dinfer::cuda
