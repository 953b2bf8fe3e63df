#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"
#include "text/tokenizer.h"

namespace dinfer {

// Limits on what a template may use: templates come with models and are not trusted.
struct TemplateBudget {
  size_t source_bytes = 256 * 1024;
  int depth = 100;                   // of the syntax tree, and of calls
  uint64_t steps = 2'000'000;
  size_t output_bytes = 4 * 1024 * 1024;
};

struct RenderedChat {
  std::string text;
  std::vector<TextSpan> plain;  // parts that came from the data: no special tokens are read there
};

// A chat template in the Jinja subset that Hugging Face's apply_chat_template offers (jinja2
// ImmutableSandboxedEnvironment with trim_blocks, lstrip_blocks, loop controls and the generation
// tag; tojson without HTML escapes; raise_exception, strftime_now).
class ChatTemplate {
 public:
  // Error(model_files) with line number for a syntax error or a broken budget.
  explicit ChatTemplate(std::string_view source, const TemplateBudget& budget = {});
  ChatTemplate(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  struct Input {
    OrderedJson messages;                // array
    OrderedJson tools = nullptr;         // array or null
    OrderedJson documents = nullptr;
    bool add_generation_prompt = true;
    OrderedJson kwargs = OrderedJson::object();  // further variables
    std::vector<std::pair<std::string, std::string>> special_texts;  // Tokenizer::special_texts()
    int64_t now = 0;                     // seconds since 1970, for strftime_now (local time)
  };

  // raise_exception in the template, a type error or a broken budget: Error(usage) with the
  // message and line.
  RenderedChat render(const Input& input) const;

 private:
  struct Program;
  std::unique_ptr<Program> program_;
  TemplateBudget budget_;
};

}  // namespace dinfer
