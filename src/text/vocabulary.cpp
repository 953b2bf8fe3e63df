#include "text/vocabulary.h"

#include <algorithm>

#include <fmt/format.h>

namespace dinfer {

Vocabulary::Vocabulary(std::vector<std::string> texts) : texts_(std::move(texts)) {
  ids_.reserve(texts_.size());
  for (size_t id = 0; id < texts_.size(); ++id) {
    if (texts_[id].empty()) continue;
    ids_[texts_[id]] = static_cast<int32_t>(id);
    longest_ = std::max(longest_, texts_[id].size());
  }
  for (size_t byte = 0; byte < bytes_.size(); ++byte) {
    bytes_[byte] = find(fmt::format("<0x{:02X}>", byte));
  }
}

void Vocabulary::hide(int32_t id) {
  const auto found = ids_.find(text(id));
  if (found != ids_.end() && found->second == id) ids_.erase(found);
}

int32_t Vocabulary::find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

}  // namespace dinfer
