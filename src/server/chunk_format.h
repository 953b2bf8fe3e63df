#pragma once

#include <set>
#include <span>
#include <string>

#include "server/answer_format.h"

namespace dinfer {

// Answers of /v1/chat/completions and /v1/completions: in a stream one chunk a piece, and at last
// "[DONE]".
class ChunkFormat : public AnswerFormat {
 public:
  struct Options {
    bool chat = false;
    bool include_usage = false;     // as a last chunk without choices
    bool continuous_usage = false;  // in every chunk
  };
  ChunkFormat(AnswerFrame frame, const Options& options, TokenTexts& texts)
      : frame_(std::move(frame)), options_(options), texts_(texts) {}

  std::string whole(std::span<const ChoicePart> choices, const Usage& usage) override;
  std::string begin() override { return {}; }
  std::string piece(const ChoicePart& part, const Usage& usage) override;
  std::string end(const Usage& usage) override;
  std::string failure(const ApiError& error) override;

 private:
  OrderedJson object(bool piece) const;
  OrderedJson logprobs(const ChoicePart& part) const;
  OrderedJson delta(const ChoicePart& part) const;
  std::string chunk(OrderedJson choice, const Usage& usage) const;

  AnswerFrame frame_;
  Options options_;
  TokenTexts& texts_;
  std::set<int> begun_;  // choices
};

}  // namespace dinfer
