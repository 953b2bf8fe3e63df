#include "cli/start_texts.h"

#include "base/error.h"
#include "text/chat_template.h"
#include "text/load_text.h"

namespace dinfer {

ModelTexts read_texts(const Options& options, const StartRequest& request,
                      const ModelFiles& files) {
  const bool has_files = !request.shape;
  ModelTexts texts;
  if (!request.reads_texts) return texts;
  if (has_files || !options.tokenizer.empty())
    texts.tokenizer = load_tokenizer(files, options.tokenizer);
  if (!request.answers) return texts;
  if (has_files) texts.generation = read_generation_defaults(files);
  const bool renders = !options.raw && options.tokens.empty();
  if (renders && (has_files || !options.chat_template.empty()))
    texts.chat_template = load_chat_template(files, options.chat_template, false);
  if (!texts.chat_template.empty()) {
    ChatTemplate{texts.chat_template};  // a syntax error is known before weights are read
  } else if (!options.system.empty()) {
    fail(
        ExitCode::usage, "--system needs a chat template: {}",
        options.raw ? "leave out --raw" : "the model has none, give one with --chat-template FILE");
  }
  return texts;
}

}  // namespace dinfer
