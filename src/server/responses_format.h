#pragma once

#include <span>
#include <string>

#include "server/answer_format.h"

namespace dinfer {

// Answers of /v1/responses: a response object whose output is a list of items (thoughts, message,
// calls), in a stream with events that tell how each item grows.
class ResponsesFormat : public AnswerFormat {
 public:
  // `asked`: what the object repeats of the request.
  ResponsesFormat(AnswerFrame frame, OrderedJson asked, TokenTexts& texts);

  std::string whole(std::span<const ChoicePart> choices, const Usage& usage) override;
  std::string begin() override;
  std::string piece(const ChoicePart& part, const Usage& usage) override;
  std::string end(const Usage& usage) override;
  std::string failure(const ApiError& error) override;

 private:
  enum class Item : uint8_t { none, reasoning, message, call };

  void emit(const std::string& type, OrderedJson fields);
  OrderedJson place() const;  // of the open item, as events name it
  void open(Item kind, OrderedJson item);
  void close();
  void close_last();
  void add_reasoning(const std::string& text);
  void add_text(const ChoicePart& part);
  void add_call(const ToolCall& call);
  OrderedJson content() const;  // of the open item
  std::string status() const;
  OrderedJson response(const std::string& status) const;
  OrderedJson ended_response(const Usage& usage) const;

  AnswerFrame frame_;
  OrderedJson asked_;
  TokenTexts& texts_;
  std::string events_;                         // to be sent
  int sequence_ = 0;                           // number of the next event
  OrderedJson output_ = OrderedJson::array();  // items that are closed
  Item kind_ = Item::none;                     // of the open one
  OrderedJson item_;
  std::string text_;  // what it holds
  OrderedJson logprobs_ = OrderedJson::array();
  std::string finish_reason_;
};

}  // namespace dinfer
