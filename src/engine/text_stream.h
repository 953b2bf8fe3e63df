#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer.h"

namespace dinfer {

// Finds stop strings in a text that comes in pieces. Text that may be the beginning of one is held
// back until it is clear; nothing of a stop string, and nothing behind it, is ever handed out.
class StopStrings {
 public:
  explicit StopStrings(std::vector<std::string> stops);

  // Takes the next piece; returns what may be handed out now.
  std::string push(std::string_view piece);
  // The text has ended: what was held back, unless a stop string was found.
  std::string finish();
  bool found() const { return found_; }
  const std::string& match() const { return match_; }  // the one that was found

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
  std::string match_;
};

// The text of one answer as its tokens come: whole UTF-8 characters, cut before stop strings.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stops, bool skip_special = true)
      : decoder_(tokenizer, skip_special), stops_(std::move(stops)) {}

  std::string push(int32_t id) { return stops_.push(decoder_.push(id)); }
  std::string finish() {
    std::string rest = stops_.push(decoder_.finish());
    return rest + stops_.finish();
  }
  bool stopped() const { return stops_.found(); }
  const std::string& stop_text() const { return stops_.match(); }

 private:
  StreamDecoder decoder_;
  StopStrings stops_;
};

}  // namespace dinfer
