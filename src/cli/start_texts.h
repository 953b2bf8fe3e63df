#pragma once

#include <memory>
#include <string>

#include "checkpoint/model_files.h"
#include "cli/options.h"
#include "cli/start.h"
#include "text/tokenizer.h"

namespace dinfer {

// What the head needs of a model beside its weights.
struct ModelTexts {
  std::unique_ptr<Tokenizer> tokenizer;  // none with a shape, unless --tokenizer names one
  std::string chat_template;             // source; empty where there is none, or with --raw
  GenerationDefaults generation;
};

// Reads and checks it. Error(model_files) for files that are missing or broken, Error(usage) where
// --system has no template to go with.
ModelTexts read_texts(const Options& options, const StartRequest& request, const ModelFiles& files);

}  // namespace dinfer
