#include "text/chat_prompt.h"

#include <charconv>
#include <chrono>
#include <cstdlib>
#include <string_view>

#include "base/error.h"

namespace dinfer {

int64_t template_time() {
  const char* fixed = std::getenv("SOURCE_DATE_EPOCH");
  if (fixed == nullptr || *fixed == '\0') {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    return std::chrono::duration_cast<std::chrono::seconds>(now).count();
  }
  const std::string_view text(fixed);
  int64_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || end != text.data() + text.size() || seconds < 0) {
    fail(ExitCode::usage, "SOURCE_DATE_EPOCH={}: must be a number of seconds since 1970", fixed);
  }
  return seconds;
}

RenderedChat render_chat(const std::string& source, const Tokenizer& tokenizer,
                         ChatTemplate::Input input) {
  if (source.empty()) {
    fail(ExitCode::usage, "the model has no chat template; give one with --chat-template FILE");
  }
  input.special_texts = tokenizer.special_texts();
  input.now = template_time();
  return ChatTemplate(source).render(input);
}

std::vector<int32_t> encode_chat(const Tokenizer& tokenizer, const RenderedChat& chat) {
  return tokenizer.encode(chat.text,
                          {.add_special = false, .parse_special = true, .plain = chat.plain});
}

}  // namespace dinfer
