#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace dinfer {

// The tokens of a model: id to text and back. Ids without a token have an empty text.
class Vocabulary {
 public:
  // texts[id]; of equal texts the one with the highest id is found.
  explicit Vocabulary(std::vector<std::string> texts);
  Vocabulary(Vocabulary&&) noexcept = default;
  Vocabulary(const Vocabulary&) = delete;

  int32_t size() const { return static_cast<int32_t>(texts_.size()); }
  size_t longest() const { return longest_; }  // bytes
  const std::string& text(int32_t id) const { return texts_[static_cast<size_t>(id)]; }

  int32_t find(std::string_view text) const;                      // -1: not there
  void hide(int32_t id);                                          // its text is not found any more
  int32_t find_byte(uint8_t byte) const { return bytes_[byte]; }  // the token <0xHH>, or -1

 private:
  std::vector<std::string> texts_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views of texts_
  std::array<int32_t, 256> bytes_{};
  size_t longest_ = 0;
};

}  // namespace dinfer
