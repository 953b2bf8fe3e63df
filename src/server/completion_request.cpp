
#include "server/api_error.h"
#include "server/generation.h"
#include "server/text_offsets.h"
#include "server/tool_request.h"

namespace dinfer {

namespace {

constexpr int64_t kDefaultTokens = 16;  // as OpenAI has it

GenerationPrompt text_prompt(const OrderedJson& text, const ServedModel& model, bool add_special) {
  const auto& value = text.get_ref<const std::string&>();
  return {.tokens = encode_prompt(value, model, add_special), .text = value};
}

GenerationPrompt token_prompt(const OrderedJson& ids, const std::string& path,
                              const ServedModel& model, const ApiLimits& limits) {
  GenerationPrompt prompt{.tokens = token_ids(ids, path, limits.longest_text, model.vocab)};
  prompt.text = model.tokenizer->decode(prompt.tokens, false);
  return prompt;
}

// A text, an array of texts, an array of ids, or an array of arrays of ids.
std::vector<GenerationPrompt> read_prompts(ApiFields& fields, const ServedModel& model,
                                           const ApiLimits& limits) {
  const bool add_special = fields.boolean("add_special_tokens").value_or(true);
  const OrderedJson* prompt = fields.find("prompt");
  if (!prompt) throw ApiError::bad_field("prompt", "is missing");
  if (prompt->is_string()) return {text_prompt(*prompt, model, add_special)};
  if (!prompt->is_array() || prompt->empty()) {
    throw ApiError::bad_field("prompt",
                              "must be a text, an array of texts, an array of token ids, or an "
                              "array of such arrays");
  }
  if (prompt->front().is_number()) return {token_prompt(*prompt, "prompt", model, limits)};
  if (prompt->size() > limits.most_prompts) {
    throw ApiError::bad_field("prompt", fmt::format("has {} prompts, at most {} are taken at once",
                                                    prompt->size(), limits.most_prompts));
  }
  std::vector<GenerationPrompt> prompts;
  for (size_t i = 0; i < prompt->size(); ++i) {
    const OrderedJson& one = (*prompt)[i];
    const std::string path = fmt::format("prompt[{}]", i);
    prompts.push_back(one.is_string() ? text_prompt(one, model, add_special)
                                      : token_prompt(one, path, model, limits));
    if (prompts.back().tokens.empty()) throw ApiError::bad_field(path, "is empty");
  }
  return prompts;
}

}  // namespace

Generation read_completion_request(const OrderedJson& body, const ServedModel& model,
                                   const ApiLimits& limits) {
  ApiFields fields(body, "");
  read_model_name(fields, model);
  fields.refuse("messages", "is a field of /v1/chat/completions: completions have a prompt");
  Generation generation;
  generation.prompts = read_prompts(fields, model, limits);
  generation.max_tokens = fields.integer("max_tokens", 0, kMostTokens)
                              .value_or(model.max_tokens.value_or(kDefaultTokens));
  generation.echo = fields.boolean("echo").value_or(false);
  if (const auto top = fields.integer("logprobs", 0, limits.most_top_logprobs))
    generation.top_logprobs = static_cast<int>(*top);
  if (generation.max_tokens == 0 && !generation.echo) {
    throw ApiError::bad_field("max_tokens", "may be 0 with echo only");
  }
  fields.refuse("tools", "is a field of /v1/chat/completions", {OrderedJson::array()});
  fields.refuse("tool_choice", "is a field of /v1/chat/completions", {"none", "auto"});
  constrain(fields, model, {}, generation);
  read_common_fields(fields, model, limits, generation);
  if (generation.echo && generation.top_logprobs >= 0) {
    for (GenerationPrompt& prompt : generation.prompts)
      prompt.offsets = prompt_offsets(*model.tokenizer, prompt.tokens, prompt.text);
  }
  return generation;
}

}  // namespace dinfer
