#include "quant/plain.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace dinfer {

namespace {

// All exponent bits set: NaN or infinity. The first loop has no exit so that it is vectorised.
template <class Word>
std::optional<int64_t> find_exponent(const std::byte* data, int64_t count, Word exponent) {
  constexpr int64_t kRun = 4096;
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t end = std::min(begin + kRun, count);
    Word found = 0;
    for (int64_t i = begin; i < end; ++i) {
      Word word;
      std::memcpy(&word, data + i * sizeof(Word), sizeof(Word));
      found |= static_cast<Word>((word & exponent) == exponent);
    }
    if (!found) continue;
    for (int64_t i = begin; i < end; ++i) {
      Word word;
      std::memcpy(&word, data + i * sizeof(Word), sizeof(Word));
      if ((word & exponent) == exponent) return i;
    }
  }
  return std::nullopt;
}

}  // namespace

void to_f32(DType type, const std::byte* data, int64_t count, float* out) {
  if (count == 0) return;  // then the pointers may be null
  if (type == DType::f32) {
    std::memcpy(out, data, count * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t bits;
    std::memcpy(&bits, data + i * sizeof(bits), sizeof(bits));
    out[i] = type == DType::bf16 ? bf16_to_f32(bits) : f16_to_f32(bits);
  }
}

void to_f16(const float* values, int64_t count, uint16_t* out) {
  constexpr uint32_t kLeastNormal = 0x38800000u;  // 2^-14 as f32, the smallest normal f16
  constexpr uint32_t kInfinite = 0x47800000u;     // 2^16: all from here on is too large
  constexpr uint32_t kExponents = 0x38000000u;    // between the biases of f32 and f16
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
    const uint32_t size = std::min(bits & 0x7fffffffu, kInfinite);
    const uint32_t normal = (size - kExponents + 0xfffu + ((size >> 13) & 1u)) >> 13;
    // Added to 0.5, whose unit in the last place is that of f16's smallest numbers.
    const uint32_t small =
        std::bit_cast<uint32_t>(std::bit_cast<float>(size) + 0.5f) - std::bit_cast<uint32_t>(0.5f);
    out[i] = static_cast<uint16_t>((size < kLeastNormal ? small : normal) | (bits >> 16 & 0x8000u));
  }
}

std::optional<int64_t> find_not_finite(DType type, const std::byte* data, int64_t count) {
  switch (type) {
    case DType::f32:
      return find_exponent<uint32_t>(data, count, 0x7f800000u);
    case DType::f16:
      return find_exponent<uint16_t>(data, count, 0x7c00u);
    case DType::bf16:
      return find_exponent<uint16_t>(data, count, 0x7f80u);
  }
  return std::nullopt;
}

}  // namespace dinfer
