// Bytes that need be neither aligned nor a whole number of words.
#pragma once

#include <cstddef>
#include <cstdint>

#include <cuda_runtime.h>

namespace dinfer::cuda::peer {

// Eight bytes from anywhere; past the end zeros.
__device__ inline uint2 load_bytes(const std::byte* from, size_t bytes) {
  if (bytes >= 8 && reinterpret_cast<uintptr_t>(from) % 8 == 0)
    return *reinterpret_cast<const uint2*>(from);
  uint64_t v = 0;
  for (size_t i = 0; i < min(bytes, size_t{8}); ++i) v |= static_cast<uint64_t>(from[i]) << (8 * i);
  return {static_cast<uint32_t>(v), static_cast<uint32_t>(v >> 32)};
}

__device__ inline void store_bytes(std::byte* to, uint2 v, size_t bytes) {
  if (bytes >= 8 && reinterpret_cast<uintptr_t>(to) % 8 == 0) {
    *reinterpret_cast<uint2*>(to) = v;
    return;
  }
  const uint64_t all = v.x | static_cast<uint64_t>(v.y) << 32;
  for (size_t i = 0; i < min(bytes, size_t{8}); ++i)
    to[i] = static_cast<std::byte>(all >> (8 * i) & 255);
}

// Unit `unit` of 16 bytes of `bytes`; past the end zeros.
__device__ inline uint4 load_unit(const std::byte* from, size_t unit, size_t bytes) {
  const size_t at = unit * 16, room = bytes - at;
  if (room >= 16 && reinterpret_cast<uintptr_t>(from) % 16 == 0)
    return *reinterpret_cast<const uint4*>(from + at);
  const uint2 a = load_bytes(from + at, room),
              b = room > 8 ? load_bytes(from + at + 8, room - 8) : uint2{0, 0};
  return {a.x, a.y, b.x, b.y};
}

__device__ inline void store_unit(std::byte* to, size_t unit, size_t bytes, uint4 v) {
  const size_t at = unit * 16, room = bytes - at;
  if (room >= 16 && reinterpret_cast<uintptr_t>(to) % 16 == 0) {
    *reinterpret_cast<uint4*>(to + at) = v;
    return;
  }
  store_bytes(to + at, {v.x, v.y}, room);
  if (room > 8) store_bytes(to + at + 8, {v.z, v.w}, room - 8);
}

}  // namespace dinfer::cuda::peer
