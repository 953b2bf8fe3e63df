#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "base/dtype.h"

namespace dinfer {

// The `count` elements of `type` at `data` as f32.
void to_f32(DType type, const std::byte* data, int64_t count, float* out);

// `count` values to f16, rounded as f32_to_f16 does, but many at a time. Not for NaN; what is too
// large becomes infinite.
void to_f16(const float* values, int64_t count, uint16_t* out);

// Index of the first element that is NaN or infinite.
std::optional<int64_t> find_not_finite(DType type, const std::byte* data, int64_t count);

}  // namespace dinfer
