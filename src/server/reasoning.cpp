#include "server/reasoning.h"

#include <utility>

#include "text/text_marks.h"

namespace dinfer {

namespace {

constexpr std::string_view kOpen = "<think>", kClose = "</think>";
constexpr std::string_view kBlanks = " \n\r\t";

}  // namespace

ReasoningReader::Piece ReasoningReader::push(std::string_view text) {
  Piece piece;
  held_ += text;
  for (bool more = true; more;) {
    switch (place_) {
      case Place::start:
        more = read_start();
        break;
      case Place::inside:
        more = read_inside(piece);
        break;
      case Place::behind:
        more = skip_blanks();
        break;
      case Place::outside:
        piece.text += std::exchange(held_, "");
        more = false;
        break;
    }
  }
  return piece;
}

bool ReasoningReader::read_start() {
  const size_t first = held_.find_first_not_of(kBlanks);
  const std::string_view seen =
      std::string_view(held_).substr(first == std::string::npos ? held_.size() : first);
  if (seen.size() < kOpen.size() && kOpen.starts_with(seen)) return false;
  if (seen.starts_with(kOpen)) {
    held_ = std::string(seen.substr(kOpen.size()));
    place_ = Place::inside;
  } else {
    place_ = Place::outside;
  }
  return true;
}

bool ReasoningReader::read_inside(Piece& piece) {
  const size_t at = held_.find(kClose);
  const size_t keep = at == std::string::npos ? overlap(held_, kClose) : held_.size() - at;
  piece.reasoning += held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  if (at == std::string::npos) return false;
  held_.erase(0, kClose.size());
  place_ = Place::behind;
  return true;
}

bool ReasoningReader::skip_blanks() {
  const size_t first = held_.find_first_not_of(kBlanks);
  if (first == std::string::npos) {
    held_.clear();
    return false;
  }
  held_.erase(0, first);
  place_ = Place::outside;
  return true;
}

ReasoningReader::Piece ReasoningReader::finish() {
  Piece piece;
  (place_ == Place::inside ? piece.reasoning : piece.text) = std::exchange(held_, "");
  return piece;
}

bool shows_reasoning(std::string_view chat_template) {
  return chat_template.find(kClose) != std::string_view::npos ||
         chat_template.find(kOpen) != std::string_view::npos;
}

bool opens_reasoning(std::string_view prompt) {
  const size_t last = prompt.find_last_not_of(kBlanks);
  return last != std::string_view::npos && prompt.substr(0, last + 1).ends_with(kOpen);
}

}  // namespace dinfer
