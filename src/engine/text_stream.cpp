#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

namespace dinfer {

namespace {

// Length of the longest end of `text` that is a proper beginning of `stop`.
size_t overlap(std::string_view text, std::string_view stop) {
  for (size_t length = std::min(text.size(), stop.size() - 1); length > 0; --length) {
    if (text.ends_with(stop.substr(0, length))) return length;
  }
  return 0;
}

}  // namespace

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

std::string StopStrings::push(std::string_view piece) {
  if (found_) return {};
  held_ += piece;
  size_t first = std::string::npos;
  size_t hold = 0;
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < first) {
      first = at;
      match_ = stop;
    }
    hold = std::max(hold, overlap(held_, stop));
  }
  found_ = first != std::string::npos;
  const size_t clear = found_ ? first : held_.size() - hold;
  std::string out = held_.substr(0, clear);
  held_.erase(0, found_ ? held_.size() : clear);
  return out;
}

std::string StopStrings::finish() { return std::exchange(held_, {}); }

}  // namespace dinfer
