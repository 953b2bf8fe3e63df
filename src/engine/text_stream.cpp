#include "engine/text_stream.h"

#include <algorithm>
#include <utility>

#include "text/text_marks.h"

namespace dinfer {

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
