#pragma once

#include <memory>
#include <string>

#include "checkpoint/model_files.h"
#include "text/tokenizer.h"

namespace dinfer {

// The tokenizer of a model: tokenizer.json (or the file given with --tokenizer) beside
// tokenizer_config.json, or a GGUF's metadata. Errors are Error(model_files).
std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files,
                                          const std::string& override_path);

// Source of the model's chat template: --chat-template FILE, chat_template.jinja, the
// "chat_template" of tokenizer_config.json (a string, or a list of named ones: "default"; with
// tools, "tool_use" where present), or tokenizer.chat_template of a GGUF. Empty: the model has
// none.
std::string load_chat_template(const ModelFiles& files, const std::string& override_path,
                               bool tools);

}  // namespace dinfer
