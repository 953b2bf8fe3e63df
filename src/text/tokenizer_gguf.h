#pragma once

#include <memory>

#include "checkpoint/gguf.h"
#include "text/tokenizer.h"

namespace dinfer {

// The tokenizer in a GGUF's metadata (tokenizer.ggml.*). Kinds other than byte-pair encoding
// (tokenizer.ggml.model gpt2, llama, gemma4) are refused by name: Error(model_files).
std::unique_ptr<Tokenizer> make_gguf_tokenizer(const GgufMetadata& metadata);

}  // namespace dinfer
