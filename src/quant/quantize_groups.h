#pragma once

#include <cstdint>
#include <string_view>

#include "quant/matrix.h"

namespace dinfer {

// Rounds `count` values (a multiple of the group) to codes, scales and, with 4 bits, minimums.
// Values beyond what f16 scales can stand for: Error(model_files) that begins with `where`.
void quantize_groups(const float* values, int64_t count, int bits, int group, uint8_t* codes,
                     float* scales, float* minimums, std::string_view where);

}  // namespace dinfer
