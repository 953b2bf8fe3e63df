#pragma once

#include <string>
#include <string_view>

namespace dinfer {

// The Hugging Face name of a GGUF tensor: "blk.0.attn_q.weight" is
// "model.layers.0.self_attn.q_proj.weight". Names with no counterpart stay as they are.
// `architecture` is the file's general.architecture: some mean other tensors by the same name.
std::string huggingface_name(std::string_view gguf_name, std::string_view architecture);

}  // namespace dinfer
