#include <algorithm>
#include <array>

#include "server/api_error.h"
#include "server/generation.h"

namespace dinfer {

namespace {

constexpr size_t kLongestName = 256;

// Fields that both APIs have, but that chat calls otherwise.
constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kChatNames{{
    {"messages", "input"},
    {"max_tokens", "max_output_tokens"},
    {"max_completion_tokens", "max_output_tokens"},
    {"response_format", "text.format"},
    {"reasoning_effort", "reasoning.effort"},
    {"logprobs", "include: [\"message.output_text.logprobs\"]"},
}};

// The parts of a message, as chat has them.
OrderedJson read_content(const OrderedJson& content, const std::string& path) {
  if (content.is_string()) return content;
  if (!content.is_array()) throw ApiError::bad_field(path, "must be a string or an array of parts");
  OrderedJson parts = OrderedJson::array();
  for (size_t i = 0; i < content.size(); ++i) {
    ApiFields part(content[i], fmt::format("{}[{}]", path, i));
    const std::string type = part.text("type", kLongestName).value_or("");
    const bool is_text = type == "input_text" || type == "output_text" || type == "text";
    const auto text = part.text(type == "refusal" ? "refusal" : "text", size_t{4} << 20);
    if ((!is_text && type != "refusal") || !text)
      throw ApiError::bad_field(part.path("type"), "only parts of text are read");
    parts.push_back({{"type", "text"}, {"text", *text}});
  }
  return parts;
}

std::string needed_text(ApiFields& item, std::string_view name) {
  const auto text = item.text(name, size_t{4} << 20);
  if (!text) throw ApiError::bad_field(item.path(name), "is missing");
  return *text;
}

void add_call(ApiFields& item, OrderedJson& messages) {
  const OrderedJson call{
      {"id", needed_text(item, "call_id")},
      {"type", "function"},
      {"function",
       {{"name", needed_text(item, "name")}, {"arguments", needed_text(item, "arguments")}}}};
  // Calls of one turn are one message, with the text before them.
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", nullptr}});
  messages.back()["tool_calls"].push_back(call);
}

void add_item(const OrderedJson& given, const std::string& path, OrderedJson& messages) {
  ApiFields item(given, path);
  const std::string type = item.text("type", kLongestName).value_or("message");
  if (type == "reasoning") return;  // templates leave earlier thoughts out
  if (type == "function_call") return add_call(item, messages);
  if (type == "function_call_output") {
    const OrderedJson* output = item.find("output");
    if (!output) throw ApiError::bad_field(item.path("output"), "is missing");
    messages.push_back({{"role", "tool"},
                        {"tool_call_id", needed_text(item, "call_id")},
                        {"content", read_content(*output, item.path("output"))}});
    return;
  }
  if (type != "message")
    throw ApiError::bad_field(item.path("type"),
                              "must be message, function_call, function_call_output or reasoning",
                              "unsupported_parameter");
  constexpr std::array<std::string_view, 4> kRoles{"system", "developer", "user", "assistant"};
  const std::string role = item.text("role", kLongestName).value_or("");
  if (std::ranges::find(kRoles, role) == kRoles.end())
    throw ApiError::bad_field(item.path("role"), "must be system, developer, user or assistant");
  const OrderedJson* content = item.find("content");
  if (!content) throw ApiError::bad_field(item.path("content"), "is missing");
  messages.push_back({{"role", role}, {"content", read_content(*content, item.path("content"))}});
}

OrderedJson read_input(ApiFields& fields, const ApiLimits& limits) {
  OrderedJson messages = OrderedJson::array();
  if (const auto instructions = fields.text("instructions", limits.longest_text))
    messages.push_back({{"role", "system"}, {"content", *instructions}});
  const OrderedJson* input = fields.find("input");
  if (input && input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", *input}});
    return messages;
  }
  if (!input || !input->is_array() || input->empty() || input->size() > limits.most_messages)
    throw ApiError::bad_field("input", fmt::format("must be a string, or an array of 1 to {} items",
                                                   limits.most_messages));
  for (size_t i = 0; i < input->size(); ++i)
    add_item((*input)[i], fmt::format("input[{}]", i), messages);
  return messages;
}

// {"type": "function", "name", ...} becomes {"type": "function", "function": {"name", ...}}.
OrderedJson read_tools_of_response(ApiFields& fields) {
  const OrderedJson* given = fields.find("tools");
  if (!given) return nullptr;
  if (!given->is_array()) throw ApiError::bad_field("tools", "must be an array");
  OrderedJson tools = OrderedJson::array();
  for (size_t i = 0; i < given->size(); ++i) {
    ApiFields tool((*given)[i], fmt::format("tools[{}]", i));
    if (tool.text("type", kLongestName) != "function")
      throw ApiError::bad_field(tool.path("type"), "must be \"function\"", "unsupported_parameter");
    OrderedJson function = (*given)[i];
    function.erase("type");
    tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return tools;
}

OrderedJson read_choice_of_response(ApiFields& fields) {
  const OrderedJson* given = fields.find("tool_choice");
  if (!given) return nullptr;
  if (!given->is_object()) return *given;
  ApiFields choice(*given, "tool_choice");
  if (choice.text("type", kLongestName) != "function")
    throw ApiError::bad_field("tool_choice.type", "must be \"function\"", "unsupported_parameter");
  return {{"type", "function"}, {"function", {{"name", needed_text(choice, "name")}}}};
}

// text.format as chat's response_format.
OrderedJson read_text_format(ApiFields& fields, std::vector<std::string>& ignored) {
  const OrderedJson* text = fields.find("text");
  if (!text) return nullptr;
  ApiFields inner(*text, "text");
  const OrderedJson* format = inner.find("format");
  for (const std::string& name : inner.unread()) ignored.push_back("text." + name);
  if (!format) return nullptr;
  ApiFields named(*format, "text.format");
  if (named.text("type", kLongestName) != "json_schema") return *format;
  return {{"type", "json_schema"}, {"json_schema", *format}};
}

void read_logprobs(ApiFields& fields, OrderedJson& chat, std::vector<std::string>& ignored) {
  const auto top = fields.integer("top_logprobs", 0, 20);
  for (const std::string& name : fields.texts("include", 16, kLongestName)) {
    if (name == "message.output_text.logprobs")
      chat["logprobs"] = true;
    else
      ignored.push_back("include." + name);
  }
  if (top && chat.contains("logprobs")) chat["top_logprobs"] = *top;
}

void refuse_stored(ApiFields& fields) {
  constexpr std::string_view kNothingStored =
      "is not available: this server keeps no responses, send the whole conversation as input";
  fields.refuse("previous_response_id", kNothingStored);
  fields.refuse("conversation", kNothingStored);
  fields.refuse("prompt", "there are no stored prompts: use instructions and input");
  fields.refuse("background", "is not available", {false});
  fields.refuse("truncation", "shorten the input yourself", {"disabled"});
  fields.refuse("n", "is not available", {1});
  for (const auto& [chat, here] : kChatNames)
    fields.refuse(chat, fmt::format("is a field of /v1/chat/completions: here it is {}", here));
}

// The same request to /v1/chat/completions; what has no effect is noted in `ignored`.
OrderedJson chat_body(const OrderedJson& body, const ApiLimits& limits,
                      std::vector<std::string>& ignored) {
  ApiFields fields(body, "");
  refuse_stored(fields);
  OrderedJson chat{{"messages", read_input(fields, limits)}};
  if (const auto most = fields.integer("max_output_tokens", 1, kMostTokens))
    chat["max_completion_tokens"] = *most;
  chat["tools"] = read_tools_of_response(fields);
  chat["tool_choice"] = read_choice_of_response(fields);
  chat["response_format"] = read_text_format(fields, ignored);
  read_logprobs(fields, chat, ignored);
  if (const OrderedJson* reasoning = fields.find("reasoning")) {
    ApiFields inner(*reasoning, "reasoning");
    if (const auto effort = inner.text("effort", 32)) chat["reasoning_effort"] = *effort;
    for (const std::string& name : inner.unread()) ignored.push_back("reasoning." + name);
  }
  for (const std::string& name : fields.unread()) chat[name] = body[name];
  return chat;
}

// What was read as a field of chat, by its name here.
std::string name_here(std::string param) {
  for (const auto& [chat, here] : kChatNames)
    if (param.starts_with(chat)) return std::string(here);
  const size_t function = param.find(".function");
  if (function != std::string::npos) param.erase(function, std::string(".function").size());
  return param;
}

OrderedJson asked_of(const OrderedJson& body, const Generation& generation) {
  const auto given = [&](const char* name, OrderedJson otherwise) {
    const auto at = body.find(name);
    return at == body.end() || at->is_null() ? std::move(otherwise) : *at;
  };
  return {{"instructions", given("instructions", nullptr)},
          {"max_output_tokens", given("max_output_tokens", nullptr)},
          {"metadata", given("metadata", OrderedJson::object())},
          {"parallel_tool_calls", given("parallel_tool_calls", true)},
          {"previous_response_id", nullptr},
          {"reasoning", given("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
          {"store", false},
          {"temperature", generation.sampling.temperature},
          {"text", given("text", {{"format", {{"type", "text"}}}})},
          {"tool_choice", given("tool_choice", "auto")},
          {"tools", given("tools", OrderedJson::array())},
          {"top_logprobs", given("top_logprobs", 0)},
          {"top_p", generation.sampling.top_p},
          {"truncation", "disabled"},
          {"usage", nullptr},
          {"user", given("user", nullptr)}};
}

}  // namespace

Generation read_responses_request(const OrderedJson& body, const ServedModel& model,
                                  const ApiLimits& limits) {
  std::vector<std::string> ignored;
  const OrderedJson chat = chat_body(body, limits, ignored);
  try {
    Generation generation = read_chat_request(chat, model, limits);
    generation.form = AnswerForm::response;
    generation.ignored.insert(generation.ignored.end(), ignored.begin(), ignored.end());
    // That nothing is stored is said by the answer itself.
    std::erase(generation.ignored, "metadata");
    generation.asked = asked_of(body, generation);
    return generation;
  } catch (const ApiError& error) {
    throw error.with_param(name_here(error.param()));
  }
}

}  // namespace dinfer
