#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

// Read by nvcc, too: see kernels/cuda/launch.h.
namespace dinfer {

// What a KV cache holds: f8 is e4m3 (1 sign, 4 exponent bits with bias 7, 3 fraction bits) of the
// OCP's 8-bit floating point specification, from 2^-9 to kMostF8.
enum class KvType : uint8_t { f32, f16, f8 };

constexpr size_t bytes_of(KvType type) {
  return type == KvType::f32 ? 4 : type == KvType::f16 ? 2 : 1;
}

constexpr std::string_view name_of(KvType type) {
  return type == KvType::f32 ? "f32" : type == KvType::f16 ? "f16" : "f8";
}

inline constexpr float kMostF8 = 448.0f;

// The nearest number of the format, of two the even one; kMostF8 where there is none.
inline uint8_t f32_to_f8(float value) {
  constexpr uint32_t kLeastNormal = 0x3c800000u;  // 2^-6
  constexpr float kUnits = 16384.0f;              // neighbours there are 2^-9 apart
  const auto sign = static_cast<uint8_t>(std::bit_cast<uint32_t>(value) >> 24 & 0x80u);
  const float size =
      std::min(kMostF8, std::bit_cast<float>(std::bit_cast<uint32_t>(value) & 0x7fffffffu));
  const auto bits = std::bit_cast<uint32_t>(size);
  if (bits < kLeastNormal) {
    const uint32_t count = std::bit_cast<uint32_t>(size + kUnits) - std::bit_cast<uint32_t>(kUnits);
    return static_cast<uint8_t>(sign | count);
  }
  const uint32_t rounded = bits + 0x7ffffu + (bits >> 20 & 1u);
  return static_cast<uint8_t>(sign | ((rounded >> 20) - (120u << 3)));
}

// The two patterns that are no numbers, which f32_to_f8 never gives, read as 480 and -480.
inline float f8_to_f32(uint8_t bits) {
  const uint32_t size = bits & 0x7fu;
  const float value = size < 8 ? static_cast<float>(size) * 0x1p-9f
                               : std::bit_cast<float>((size << 20) + (120u << 23));
  return bits & 0x80u ? -value : value;
}

}  // namespace dinfer
