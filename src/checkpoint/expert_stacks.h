#pragma once

#include <string_view>

#include "checkpoint/file_checkpoint.h"
#include "checkpoint/model_config.h"

namespace dinfer {

// Whether this tensor holds gate and up of all experts of a layer, one matrix after the other: what
// transformers 5 has in memory, and writes with save_original_format=False.
bool is_expert_stack(std::string_view name);

// Puts the matrices of such stacks among the checkpoint's tensors, each under the name that it has
// where every expert has tensors of its own.
void split_expert_stacks(FileCheckpoint& checkpoint, const ModelConfig& config);

}  // namespace dinfer
