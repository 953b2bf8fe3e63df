#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace dinfer {

// The Hugging Face name of a GGUF tensor: "blk.0.attn_q.weight" is
// "model.layers.0.self_attn.q_proj.weight". Names with no counterpart stay as they are.
// `architecture` is the file's general.architecture: some mean other tensors by the same name.
std::string huggingface_name(std::string_view gguf_name, std::string_view architecture);

// The same of one expert's matrix in a tensor that holds those of all: of expert 3 in
// "blk.0.ffn_gate_exps.weight" it is "model.layers.0.mlp.experts.3.gate_proj.weight". Empty: the
// tensor is none of experts.
std::string huggingface_expert_name(std::string_view gguf_name, int64_t expert);

}  // namespace dinfer
