#include "server/answer_format.h"

#include <algorithm>

#include "base/build_info.h"

namespace dinfer {

namespace {

OrderedJson bytes_of(const std::string& text) {
  OrderedJson bytes = OrderedJson::array();
  for (const char byte : text) bytes.push_back(static_cast<unsigned char>(byte));
  return bytes;
}

OrderedJson chat_token(int32_t id, float logprob, TokenTexts& texts) {
  const std::string& text = texts.of(id);
  return {{"token", text}, {"logprob", logprob}, {"bytes", bytes_of(text)}};
}

OrderedJson chat_logprobs(const ChoicePart& part, TokenTexts& texts) {
  OrderedJson content = OrderedJson::array();
  for (const TokenEntry& entry : part.entries) {
    OrderedJson token = chat_token(entry.id, entry.logprob.value_or(0), texts);
    OrderedJson top = OrderedJson::array();
    for (const TokenLogprob& other : entry.top)
      top.push_back(chat_token(other.id, other.logprob, texts));
    token["top_logprobs"] = std::move(top);
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

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
  size_t offset = part.text_offset;
  for (const TokenEntry& entry : part.entries) {
    const std::string& text = texts.of(entry.id);
    offsets.push_back(offset);
    offset += characters(text);
    logprobs.push_back(entry.logprob ? OrderedJson(*entry.logprob) : OrderedJson());
    tokens.push_back(text);
    top.push_back(top_map(entry, texts));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(top)}};
}

OrderedJson logprobs_of(const AnswerFrame& frame, const ChoicePart& part, TokenTexts& texts) {
  if (!part.has_logprobs) return nullptr;
  return frame.chat ? chat_logprobs(part, texts) : completion_logprobs(part, texts);
}

OrderedJson calls_json(const ChoicePart& part, bool indices) {
  OrderedJson list = OrderedJson::array();
  for (size_t i = 0; i < part.calls.size(); ++i) {
    const ToolCall& call = part.calls[i];
    OrderedJson json = OrderedJson::object();
    if (indices) json["index"] = part.first_call + i;
    json["id"] = call.id;
    json["type"] = "function";
    json["function"] = {{"name", call.name}, {"arguments", call.arguments}};
    list.push_back(std::move(json));
  }
  return list;
}

OrderedJson message_json(const ChoicePart& part) {
  OrderedJson message{{"role", "assistant"}, {"content", part.text}};
  if (!part.reasoning.empty()) message["reasoning_content"] = part.reasoning;
  if (part.calls.empty()) return message;
  if (part.text.empty()) message["content"] = nullptr;
  message["tool_calls"] = calls_json(part, false);
  return message;
}

OrderedJson usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached_tokens}}}};
}

OrderedJson begin_object(const AnswerFrame& frame, const char* object) {
  return {{"id", frame.id},
          {"object", object},
          {"created", frame.created},
          {"model", frame.model},
          {"system_fingerprint", "dinfer-" + std::string(build_info().version)}};
}

const char* chunk_object(const AnswerFrame& frame) {
  return frame.chat ? "chat.completion.chunk" : "text_completion";
}

void add_finish(const ChoicePart& part, OrderedJson& choice) {
  choice["finish_reason"] =
      part.finish_reason.empty() ? OrderedJson() : OrderedJson(part.finish_reason);
  if (part.finish_reason.empty()) return;
  choice["stop_reason"] = part.stop_token            ? OrderedJson(*part.stop_token)
                          : part.stop_reason.empty() ? OrderedJson()
                                                     : OrderedJson(part.stop_reason);
}

std::string chunk(const AnswerFrame& frame, OrderedJson choice, const std::optional<Usage>& usage,
                  bool null_usage) {
  OrderedJson object = begin_object(frame, chunk_object(frame));
  object["choices"] = OrderedJson::array({std::move(choice)});
  if (usage)
    object["usage"] = usage_json(*usage);
  else if (null_usage)
    object["usage"] = nullptr;
  return dump(object);
}

}  // namespace

TokenTexts::TokenTexts(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {
  const std::vector<int32_t> ids = tokenizer.encode("a", {.add_special = false});
  if (!ids.empty()) anchor_ = {ids.back()};
  anchor_bytes_ = tokenizer.decode(anchor_, false).size();
}

const std::string& TokenTexts::of(int32_t id) {
  const auto [at, added] = known_.try_emplace(id);
  if (added && id >= 0 && id < tokenizer_.vocab_size()) {
    std::vector<int32_t> ids = anchor_;
    ids.push_back(id);
    const std::string text = tokenizer_.decode(ids, false);
    at->second = text.substr(std::min(anchor_bytes_, text.size()));
  }
  return at->second;
}

std::string whole_answer(const AnswerFrame& frame, std::span<const ChoicePart> choices,
                         const Usage& usage, TokenTexts& texts) {
  OrderedJson object = begin_object(frame, frame.chat ? "chat.completion" : "text_completion");
  OrderedJson list = OrderedJson::array();
  for (const ChoicePart& part : choices) {
    OrderedJson choice{{"index", part.index}};
    if (frame.chat)
      choice["message"] = message_json(part);
    else
      choice["text"] = part.text;
    choice["logprobs"] = logprobs_of(frame, part, texts);
    add_finish(part, choice);
    list.push_back(std::move(choice));
  }
  object["choices"] = std::move(list);
  object["usage"] = usage_json(usage);
  return dump(object);
}

std::string role_chunk(const AnswerFrame& frame, int index, const std::optional<Usage>& usage,
                       bool null_usage) {
  return chunk(frame,
               {{"index", index},
                {"delta", {{"role", "assistant"}, {"content", ""}}},
                {"logprobs", nullptr},
                {"finish_reason", nullptr}},
               usage, null_usage);
}

std::string text_chunk(const AnswerFrame& frame, const ChoicePart& part,
                       const std::optional<Usage>& usage, bool null_usage, TokenTexts& texts) {
  OrderedJson choice{{"index", part.index}};
  if (frame.chat) {
    choice["delta"] = OrderedJson::object();
    if (!part.text.empty() ||
        (part.finish_reason.empty() && part.calls.empty() && part.reasoning.empty()))
      choice["delta"]["content"] = part.text;
    if (!part.reasoning.empty()) choice["delta"]["reasoning_content"] = part.reasoning;
    if (!part.calls.empty()) choice["delta"]["tool_calls"] = calls_json(part, true);
  } else {
    choice["text"] = part.text;
  }
  choice["logprobs"] = logprobs_of(frame, part, texts);
  add_finish(part, choice);
  return chunk(frame, std::move(choice), usage, null_usage);
}

std::string usage_chunk(const AnswerFrame& frame, const Usage& usage) {
  OrderedJson object = begin_object(frame, chunk_object(frame));
  object["choices"] = OrderedJson::array();
  object["usage"] = usage_json(usage);
  return dump(object);
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace dinfer
