#include "server/responses_format.h"

#include <utility>

#include <fmt/format.h>

namespace dinfer {

ResponsesFormat::ResponsesFormat(AnswerFrame frame, OrderedJson asked, TokenTexts& texts)
    : frame_(std::move(frame)), asked_(std::move(asked)), texts_(texts) {}

void ResponsesFormat::emit(const std::string& type, OrderedJson fields) {
  OrderedJson event{{"type", type}, {"sequence_number", sequence_++}};
  event.update(fields);
  events_ += fmt::format("event: {}\ndata: {}\n\n", type, dump(event));
}

OrderedJson ResponsesFormat::place() const {
  OrderedJson place{{"item_id", item_["id"]}, {"output_index", output_.size()}};
  if (kind_ != Item::call) place["content_index"] = 0;
  return place;
}

OrderedJson ResponsesFormat::content() const {
  if (kind_ == Item::reasoning) return {{"type", "reasoning_text"}, {"text", text_}};
  return {{"type", "output_text"},
          {"text", text_},
          {"annotations", OrderedJson::array()},
          {"logprobs", logprobs_}};
}

void ResponsesFormat::open(Item kind, OrderedJson item) {
  close();
  kind_ = kind;
  item_ = std::move(item);
  emit("response.output_item.added", {{"output_index", output_.size()}, {"item", item_}});
  if (kind == Item::call) return;
  OrderedJson added = place();
  added["part"] = content();
  emit("response.content_part.added", std::move(added));
}

// The open item is complete.
void ResponsesFormat::close() {
  if (kind_ == Item::none) return;
  OrderedJson done = place();
  if (kind_ == Item::call) {
    item_["arguments"] = text_;
    done["name"] = item_["name"];
    done["arguments"] = text_;
    emit("response.function_call_arguments.done", std::move(done));
  } else {
    item_["content"] = OrderedJson::array({content()});
    OrderedJson part = place();
    part["part"] = content();
    done["text"] = text_;
    if (kind_ == Item::message) done["logprobs"] = logprobs_;
    emit(kind_ == Item::message ? "response.output_text.done" : "response.reasoning_text.done",
         std::move(done));
    emit("response.content_part.done", std::move(part));
  }
  item_["status"] = finish_reason_ == "length" ? "incomplete" : "completed";
  emit("response.output_item.done", {{"output_index", output_.size()}, {"item", item_}});
  output_.push_back(std::exchange(item_, nullptr));
  kind_ = Item::none;
  text_.clear();
  logprobs_ = OrderedJson::array();
}

void ResponsesFormat::add_reasoning(const std::string& text) {
  if (kind_ != Item::reasoning) {
    open(Item::reasoning, {{"id", fmt::format("rs_{}_{}", frame_.id, output_.size())},
                           {"type", "reasoning"},
                           {"summary", OrderedJson::array()},
                           {"content", OrderedJson::array()},
                           {"status", "in_progress"}});
  }
  text_ += text;
  OrderedJson delta = place();
  delta["delta"] = text;
  emit("response.reasoning_text.delta", std::move(delta));
}

void ResponsesFormat::add_text(const ChoicePart& part) {
  if (kind_ != Item::message) {
    open(Item::message, {{"id", fmt::format("msg_{}_{}", frame_.id, output_.size())},
                         {"type", "message"},
                         {"status", "in_progress"},
                         {"role", "assistant"},
                         {"content", OrderedJson::array()}});
  }
  text_ += part.text;
  OrderedJson tokens = OrderedJson::array();
  if (part.has_logprobs) tokens = token_logprobs(part.entries, texts_);
  logprobs_.insert(logprobs_.end(), tokens.begin(), tokens.end());
  OrderedJson delta = place();
  delta["delta"] = part.text;
  delta["logprobs"] = std::move(tokens);
  emit("response.output_text.delta", std::move(delta));
}

void ResponsesFormat::add_call(const ToolCall& call) {
  if (!call.id.empty()) {
    open(Item::call, {{"id", "fc_" + call.id},
                      {"type", "function_call"},
                      {"status", "in_progress"},
                      {"call_id", call.id},
                      {"name", call.name},
                      {"arguments", ""}});
  }
  if (call.arguments.empty()) return;
  text_ += call.arguments;
  OrderedJson delta = place();
  delta["delta"] = call.arguments;
  emit("response.function_call_arguments.delta", std::move(delta));
}

OrderedJson ResponsesFormat::response(const std::string& status) const {
  OrderedJson object{
      {"id", frame_.id},       {"object", "response"}, {"created_at", frame_.created},
      {"status", status},      {"error", nullptr},     {"incomplete_details", nullptr},
      {"model", frame_.model}, {"output", output_}};
  object.update(asked_);
  return object;
}

std::string ResponsesFormat::status() const {
  return finish_reason_ == "length" ? "incomplete" : "completed";
}

OrderedJson ResponsesFormat::ended_response(const Usage& usage) const {
  OrderedJson object = response(status());
  if (finish_reason_ == "length") object["incomplete_details"] = {{"reason", "max_output_tokens"}};
  object["usage"] = {{"input_tokens", usage.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                     {"output_tokens", usage.completion_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", usage.reasoning_tokens}}},
                     {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
  return object;
}

// An answer has an item, even where the model said nothing.
void ResponsesFormat::close_last() {
  if (kind_ == Item::none && output_.empty()) add_text({});
  close();
}

std::string ResponsesFormat::whole(std::span<const ChoicePart> choices, const Usage& usage) {
  piece(choices.front(), usage);
  close_last();
  return dump(ended_response(usage));
}

std::string ResponsesFormat::begin() {
  emit("response.created", {{"response", response("in_progress")}});
  emit("response.in_progress", {{"response", response("in_progress")}});
  return std::exchange(events_, {});
}

std::string ResponsesFormat::piece(const ChoicePart& part, const Usage&) {
  if (!part.reasoning.empty()) add_reasoning(part.reasoning);
  if (!part.text.empty()) add_text(part);
  for (const ToolCall& call : part.calls) add_call(call);
  if (!part.finish_reason.empty()) finish_reason_ = part.finish_reason;
  return std::exchange(events_, {});
}

std::string ResponsesFormat::end(const Usage& usage) {
  close_last();
  emit("response." + status(), {{"response", ended_response(usage)}});
  return std::exchange(events_, {});
}

std::string ResponsesFormat::failure(const ApiError& error) {
  OrderedJson object = response("failed");
  object["error"] = {{"code", "server_error"}, {"message", error.what()}};
  emit("response.failed", {{"response", std::move(object)}});
  return std::exchange(events_, {});
}

}  // namespace dinfer
