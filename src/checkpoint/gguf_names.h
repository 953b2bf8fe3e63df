#pragma once

#include <string>
#include <string_view>

namespace dinfer {

// The Hugging Face name of a GGUF tensor: "blk.0.attn_q.weight" is
// "model.layers.0.self_attn.q_proj.weight". Names with no counterpart stay as they are.
// `fused_mlp`: ffn_up holds gate and up (Phi-3).
std::string huggingface_name(std::string_view gguf_name, bool fused_mlp);

}  // namespace dinfer
