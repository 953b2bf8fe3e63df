#include <algorithm>
#include <array>

#include "server/api_error.h"
#include "server/generation.h"
#include "server/reasoning.h"
#include "server/tool_request.h"
#include "text/chat_prompt.h"

namespace dinfer {

namespace {

// The content of a message as one text: a string, or parts of type "text", joined by line ends.
OrderedJson content_text(const OrderedJson& content, const std::string& path) {
  if (content.is_string() || content.is_null()) return content;
  if (!content.is_array()) throw ApiError::bad_field(path, "must be a string or an array of parts");
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const OrderedJson& part = content[i];
    const std::string part_path = fmt::format("{}[{}]", path, i);
    const bool is_text = part.is_object() && part.contains("type") && part["type"] == "text" &&
                         part.contains("text") && part["text"].is_string();
    if (!is_text) {
      throw ApiError::bad_field(
          part_path,
          "only parts {\"type\": \"text\", \"text\": ...} are read: no images, "
          "sounds or files");
    }
    if (i > 0) text += '\n';
    text += part["text"].get_ref<const std::string&>();
  }
  return text;
}

OrderedJson checked_message(const OrderedJson& given, size_t index) {
  constexpr std::array<std::string_view, 6> kRoles{"system",    "developer", "user",
                                                   "assistant", "tool",      "function"};
  const std::string path = fmt::format("messages[{}]", index);
  ApiFields fields(given, path);
  const auto role = fields.text("role", 64);
  if (!role || std::ranges::find(kRoles, *role) == kRoles.end()) {
    throw ApiError::bad_field(path + ".role",
                              "must be system, developer, user, assistant, tool or function");
  }
  OrderedJson message = given;
  if (*role == "developer") message["role"] = "system";  // what templates call it
  const OrderedJson* content = fields.find("content");
  const bool calls = given.contains("tool_calls") && !given["tool_calls"].is_null();
  if (!content && !(*role == "assistant" && calls)) {
    throw ApiError::bad_field(path + ".content", "is missing");
  }
  read_tool_calls(message, path);
  message["content"] = content ? content_text(*content, path + ".content") : OrderedJson("");
  return message;
}

OrderedJson template_arguments(ApiFields& fields) {
  OrderedJson kwargs = OrderedJson::object();
  if (const OrderedJson* given = fields.find("chat_template_kwargs")) {
    if (!given->is_object()) throw ApiError::bad_field("chat_template_kwargs", "must be an object");
    for (const auto& [key, value] : given->items()) {
      if (value.is_structured()) {
        throw ApiError::bad_field("chat_template_kwargs." + key.substr(0, 100),
                                  "must be a string, a number, true, false or null");
      }
      kwargs[key] = value;
    }
    for (const char* own : {"messages", "tools", "documents", "add_generation_prompt"}) {
      if (kwargs.contains(own)) {
        throw ApiError::bad_field(fmt::format("chat_template_kwargs.{}", own),
                                  "is given beside it, not in it");
      }
    }
  }
  if (const auto effort = fields.text("reasoning_effort", 32)) kwargs["reasoning_effort"] = *effort;
  return kwargs;
}

int64_t smaller_limit(ApiFields& fields, const ServedModel& model, Generation& generation) {
  const auto old_name = fields.integer("max_tokens", 1, kMostTokens);
  const auto new_name = fields.integer("max_completion_tokens", 1, kMostTokens);
  if (old_name && new_name && *old_name != *new_name) {
    generation.warning = "max_tokens and max_completion_tokens differ: the smaller one counts";
    return std::min(*old_name, *new_name);
  }
  if (new_name) return *new_name;
  if (old_name) return *old_name;
  return model.max_tokens.value_or(-1);
}

// For a template that does not know tools.
void tell_of_tools(const ToolRequest& tools, OrderedJson& messages) {
  write_calls_as_text(messages);
  if (!tools.active()) return;
  const std::string text = describe_tools(tools.tools);
  if (messages[0]["role"] == "system") {
    const std::string said = messages[0]["content"].get<std::string>();
    messages[0]["content"] = said.empty() ? text : said + "\n\n" + text;
  } else {
    messages.insert(messages.begin(), OrderedJson{{"role", "system"}, {"content", text}});
  }
}

// An answer that must have a form is all answer.
std::optional<bool> reasoning_of(const ServedModel& model, const Generation& generation) {
  const bool formed = generation.grammar && !generation.tool_format;
  if (formed || !shows_reasoning(model.chat_template_source)) return std::nullopt;
  const std::span<const int32_t> prompt(generation.prompts[0].tokens);
  constexpr size_t kEnd = 16;  // tokens that are looked at
  return opens_reasoning(
      model.tokenizer->decode(prompt.last(std::min(kEnd, prompt.size())), false));
}

}  // namespace

std::vector<int32_t> read_conversation(ApiFields& fields, const ServedModel& model,
                                       const ApiLimits& limits, const ToolRequest& tools) {
  if (!model.chat_template) {
    throw ApiError::bad_field("messages",
                              "the model has no chat template: use /v1/completions, or start the "
                              "server with --chat-template FILE",
                              "no_chat_template");
  }
  const OrderedJson* messages = fields.find("messages");
  if (!messages || !messages->is_array() || messages->empty() ||
      messages->size() > limits.most_messages) {
    throw ApiError::bad_field(
        "messages", fmt::format("must be an array of 1 to {} messages", limits.most_messages));
  }
  ChatTemplate::Input input{.messages = OrderedJson::array()};
  for (size_t i = 0; i < messages->size(); ++i)
    input.messages.push_back(checked_message((*messages)[i], i));
  if (tools.shown_by_template)
    input.tools = tools.tools;
  else
    tell_of_tools(tools, input.messages);
  if (const OrderedJson* documents = fields.find("documents")) {
    if (!documents->is_array()) throw ApiError::bad_field("documents", "must be an array");
    input.documents = *documents;
  }
  input.add_generation_prompt = fields.boolean("add_generation_prompt").value_or(true);
  fields.refuse("continue_final_message", "is not available", {false});
  input.kwargs = template_arguments(fields);
  input.special_texts = model.tokenizer->special_texts();
  input.now = template_time();
  try {
    return encode_chat(*model.tokenizer, model.chat_template->render(input));
  } catch (const Error& error) {
    throw ApiError::bad_field("messages", error.what(), "chat_template_error");
  }
}

Generation read_chat_request(const OrderedJson& body, const ServedModel& model,
                             const ApiLimits& limits) {
  ApiFields fields(body, "");
  read_model_name(fields, model);
  Generation generation{.form = AnswerForm::chat};
  generation.max_tokens = smaller_limit(fields, model, generation);
  fields.refuse("echo", "is not available for chat", {false});
  fields.refuse("prompt", "is a field of /v1/completions: chat has messages");
  const bool logprobs = fields.boolean("logprobs").value_or(false);
  const auto top = fields.integer("top_logprobs", 0, limits.most_top_logprobs);
  if (top && *top > 0 && !logprobs) {
    throw ApiError::bad_field("top_logprobs", "needs logprobs to be true");
  }
  if (logprobs) generation.top_logprobs = static_cast<int>(top.value_or(0));
  const ToolRequest tools = read_tools(fields, model);
  generation.prompts.push_back({.tokens = read_conversation(fields, model, limits, tools)});
  constrain(fields, model, tools, generation);
  generation.reasoning = reasoning_of(model, generation);
  read_common_fields(fields, model, limits, generation);
  return generation;
}

}  // namespace dinfer
