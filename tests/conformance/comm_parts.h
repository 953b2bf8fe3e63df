#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

namespace dinfer::test {

// Value i of rank r: of mixed sign and size, so that the order of additions shows in the last bits.
inline float value(int rank, size_t i) {
  const auto hash =
      static_cast<uint32_t>((i + 1) * 2654435761u + static_cast<uint32_t>(rank) * 40503u);
  return std::ldexp(static_cast<float>(hash >> 8) - 8388608.0f, static_cast<int>(hash & 15) - 28);
}

inline std::vector<float> values(int rank, size_t count) {
  std::vector<float> all(count);
  for (size_t i = 0; i < count; ++i) all[i] = value(rank, i);
  return all;
}

inline std::vector<std::byte> bytes(int rank, size_t count, size_t seed) {
  std::vector<std::byte> all(count);
  for (size_t i = 0; i < count; ++i)
    all[i] = static_cast<std::byte>(
        (i * 7 + (i >> 9) + seed * 13 + static_cast<size_t>(rank) * 101) & 255);
  return all;
}

}  // namespace dinfer::test
