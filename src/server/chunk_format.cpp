#include "server/chunk_format.h"

#include <utility>

#include "base/build_info.h"

namespace dinfer {

namespace {

std::string event(const std::string& data) { return "data: " + data + "\n\n"; }

// Text to log-probability of the likeliest tokens and of the one that stands there. Where two
// tokens have one text, the likelier one counts.
OrderedJson top_map(const TokenEntry& entry, TokenTexts& texts) {
  if (!entry.logprob) return nullptr;
  OrderedJson map = OrderedJson::object();
  for (const TokenLogprob& other : entry.top) {
    const std::string text = dump(texts.of(other.id));
    const auto key = OrderedJson::parse(text).get<std::string>();  // valid UTF-8
    if (!map.contains(key)) map[key] = other.logprob;
  }
  const auto own = OrderedJson::parse(dump(texts.of(entry.id))).get<std::string>();
  if (!map.contains(own)) map[own] = *entry.logprob;
  return map;
}

OrderedJson completion_logprobs(const ChoicePart& part, TokenTexts& texts) {
  OrderedJson offsets = OrderedJson::array(), logprobs = OrderedJson::array(),
              tokens = OrderedJson::array(), top = OrderedJson::array();
  for (const TokenEntry& entry : part.entries) {
    offsets.push_back(entry.offset);
    logprobs.push_back(entry.logprob ? OrderedJson(*entry.logprob) : OrderedJson());
    tokens.push_back(texts.of(entry.id));
    top.push_back(top_map(entry, texts));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(top)}};
}

// `piece`: of a stream, where a call has its id and name in the first piece alone.
OrderedJson calls_json(const std::vector<ToolCall>& calls, bool piece) {
  OrderedJson list = OrderedJson::array();
  for (const ToolCall& call : calls) {
    OrderedJson json = OrderedJson::object();
    if (piece) json["index"] = call.index;
    if (!call.id.empty()) {
      json["id"] = call.id;
      json["type"] = "function";
      json["function"]["name"] = call.name;
    }
    json["function"]["arguments"] = call.arguments;
    list.push_back(std::move(json));
  }
  return list;
}

OrderedJson message_json(const ChoicePart& part) {
  OrderedJson message{{"role", "assistant"}, {"content", part.text}};
  if (!part.reasoning.empty()) message["reasoning_content"] = part.reasoning;
  if (part.calls.empty()) return message;
  if (part.text.empty()) message["content"] = nullptr;
  message["tool_calls"] = calls_json(part.calls, false);
  return message;
}

OrderedJson usage_json(const Usage& usage) {
  OrderedJson json{{"prompt_tokens", usage.prompt_tokens},
                   {"completion_tokens", usage.completion_tokens},
                   {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
                   {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
  if (usage.reasoning_tokens > 0)
    json["completion_tokens_details"] = {{"reasoning_tokens", usage.reasoning_tokens}};
  return json;
}

void add_finish(const ChoicePart& part, OrderedJson& choice) {
  choice["finish_reason"] =
      part.finish_reason.empty() ? OrderedJson() : OrderedJson(part.finish_reason);
  if (part.finish_reason.empty()) return;
  choice["stop_reason"] = part.stop_token            ? OrderedJson(*part.stop_token)
                          : part.stop_reason.empty() ? OrderedJson()
                                                     : OrderedJson(part.stop_reason);
}

}  // namespace

OrderedJson ChunkFormat::object(bool piece) const {
  return {{"id", frame_.id},
          {"object", !options_.chat ? "text_completion"
                     : piece        ? "chat.completion.chunk"
                                    : "chat.completion"},
          {"created", frame_.created},
          {"model", frame_.model},
          {"system_fingerprint", "dinfer-" + std::string(build_info().version)}};
}

OrderedJson ChunkFormat::logprobs(const ChoicePart& part) const {
  if (!part.has_logprobs) return nullptr;
  if (!options_.chat) return completion_logprobs(part, texts_);
  return {{"content", token_logprobs(part.entries, texts_)}, {"refusal", nullptr}};
}

OrderedJson ChunkFormat::delta(const ChoicePart& part) const {
  OrderedJson delta = OrderedJson::object();
  const bool nothing_else =
      part.finish_reason.empty() && part.calls.empty() && part.reasoning.empty();
  if (!part.text.empty() || nothing_else) delta["content"] = part.text;
  if (!part.reasoning.empty()) delta["reasoning_content"] = part.reasoning;
  if (!part.calls.empty()) delta["tool_calls"] = calls_json(part.calls, true);
  return delta;
}

std::string ChunkFormat::chunk(OrderedJson choice, const Usage& usage) const {
  OrderedJson chunk = object(true);
  chunk["choices"] = OrderedJson::array({std::move(choice)});
  if (options_.continuous_usage)
    chunk["usage"] = usage_json(usage);
  else if (options_.include_usage)
    chunk["usage"] = nullptr;
  return event(dump(chunk));
}

std::string ChunkFormat::whole(std::span<const ChoicePart> choices, const Usage& usage) {
  OrderedJson answer = object(false);
  OrderedJson list = OrderedJson::array();
  for (const ChoicePart& part : choices) {
    OrderedJson choice{{"index", part.index}};
    if (options_.chat)
      choice["message"] = message_json(part);
    else
      choice["text"] = part.text;
    choice["logprobs"] = logprobs(part);
    add_finish(part, choice);
    if (!options_.chat && !part.prompt.empty())
      choice["prompt_logprobs"] = prompt_logprobs(part.prompt, texts_);
    list.push_back(std::move(choice));
  }
  answer["choices"] = std::move(list);
  if (options_.chat && !choices.front().prompt.empty())
    answer["prompt_logprobs"] = prompt_logprobs(choices.front().prompt, texts_);
  answer["usage"] = usage_json(usage);
  return dump(answer);
}

std::string ChunkFormat::piece(const ChoicePart& part, const Usage& usage) {
  std::string events;
  if (options_.chat && begun_.insert(part.index).second) {
    events = chunk({{"index", part.index},
                    {"delta", {{"role", "assistant"}, {"content", ""}}},
                    {"logprobs", nullptr},
                    {"finish_reason", nullptr}},
                   usage);
  }
  OrderedJson choice{{"index", part.index}};
  if (options_.chat)
    choice["delta"] = delta(part);
  else
    choice["text"] = part.text;
  choice["logprobs"] = logprobs(part);
  add_finish(part, choice);
  return events + chunk(std::move(choice), usage);
}

std::string ChunkFormat::end(const Usage& usage) {
  std::string events;
  if (options_.include_usage) {
    OrderedJson last = object(true);
    last["choices"] = OrderedJson::array();
    last["usage"] = usage_json(usage);
    events = event(dump(last));
  }
  return events + event("[DONE]");
}

std::string ChunkFormat::failure(const ApiError& error) {
  return event(error.json()) + event("[DONE]");
}

}  // namespace dinfer
