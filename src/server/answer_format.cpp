#include "server/answer_format.h"

#include <algorithm>

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

OrderedJson token_logprobs(std::span<const TokenEntry> entries, TokenTexts& texts) {
  OrderedJson list = OrderedJson::array();
  for (const TokenEntry& entry : entries) {
    OrderedJson token = chat_token(entry.id, entry.logprob.value_or(0), texts);
    OrderedJson top = OrderedJson::array();
    for (const TokenLogprob& other : entry.top)
      top.push_back(chat_token(other.id, other.logprob, texts));
    token["top_logprobs"] = std::move(top);
    list.push_back(std::move(token));
  }
  return list;
}

OrderedJson prompt_logprobs(std::span<const TokenEntry> entries, TokenTexts& texts) {
  OrderedJson list = OrderedJson::array();
  for (const TokenEntry& entry : entries) {
    if (!entry.logprob) {
      list.push_back(nullptr);
      continue;
    }
    OrderedJson tokens = OrderedJson::object();
    const auto add = [&](int32_t id, float logprob, OrderedJson rank) {
      tokens[std::to_string(id)] = {
          {"logprob", logprob}, {"rank", std::move(rank)}, {"decoded_token", texts.of(id)}};
    };
    for (size_t i = 0; i < entry.top.size(); ++i) add(entry.top[i].id, entry.top[i].logprob, i + 1);
    if (!tokens.contains(std::to_string(entry.id))) add(entry.id, *entry.logprob, nullptr);
    list.push_back(std::move(tokens));
  }
  return list;
}

size_t characters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string dump(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace dinfer
