#include "quant/plain.h"

#include <algorithm>
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
