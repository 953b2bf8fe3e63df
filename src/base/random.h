#pragma once

#include <array>
#include <cstdint>

namespace dinfer {

// Philox4x32-10, a counter-based generator: Salmon, Moraes, Dror, Shaw, "Parallel random numbers:
// as easy as 1, 2, 3", SC11, doi:10.1145/2063384.2063405. No state: the same counter and key give
// the same words on every rank and device.
constexpr std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter,
                                             std::array<uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    key = {key[0] + 0x9E3779B9u, key[1] + 0xBB67AE85u};
  }
  return counter;
}

// The random words of one draw, one for each token of the vocabulary.
class TokenNoise {
 public:
  constexpr TokenNoise(uint64_t seed, uint32_t stream, int64_t position)
      : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
        stream_(stream),
        position_(static_cast<uint64_t>(position)) {}

  // Word of one token. Tokens in ascending order share the work of four.
  constexpr uint32_t word(int32_t token) {
    const uint32_t quad = static_cast<uint32_t>(token) / 4;
    if (quad != quad_) {
      quad_ = quad;
      words_ = philox4x32(
          {quad, static_cast<uint32_t>(position_), static_cast<uint32_t>(position_ >> 32), stream_},
          key_);
    }
    return words_[static_cast<uint32_t>(token) % 4];
  }

 private:
  std::array<uint32_t, 2> key_;
  uint32_t stream_;
  uint64_t position_;
  uint32_t quad_ = UINT32_MAX;
  std::array<uint32_t, 4> words_{};
};

}  // namespace dinfer
