#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace dinfer {

// A set of tokens: token i is bit i % 64 of word i / 64. Tokens beyond the words are not in it.
using TokenMask = std::vector<uint64_t>;

inline bool contains(std::span<const uint64_t> mask, int64_t token) {
  const auto word = static_cast<size_t>(token / 64);
  return word < mask.size() && (mask[word] >> (token % 64) & 1) != 0;
}

}  // namespace dinfer
