#include "quant/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "base/error.h"
#include "quant/grouped.h"
#include "quant/plain.h"
#include "quant/quantize_groups.h"

namespace dinfer {

namespace {

constexpr float kMostF16 = 65504.0f;

// The nearest f16 that is not below, for value >= 0; and that is not above. Ranges so rounded cover
// all their values, which are then off by half a step at most.
float f16_above(float value) {
  const uint16_t bits = f32_to_f16(value);
  return f16_to_f32(f16_to_f32(bits) < value ? bits + 1 : bits);
}

float f16_below(float value) {
  if (value < 0) return -f16_above(-value);
  const uint16_t bits = f32_to_f16(value);
  return f16_to_f32(f16_to_f32(bits) > value ? bits - 1 : bits);
}

// Nearest integer for |x| < 2^22, ties to even, in a form that is vectorised.
int32_t nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's unit in the last place is 1
  return std::bit_cast<int32_t>(x + kMagic) - std::bit_cast<int32_t>(kMagic);
}

// value = scale * code, code -127..127
void quantize_symmetric_8(const float* values, int group, uint8_t* codes, float& scale) {
  float most = 0;
  for (int i = 0; i < group; ++i) most = std::max(most, std::fabs(values[i]));
  scale = f16_above(most / 127.0f);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < group; ++i) {
    const float x = std::clamp(values[i] * inverse, -127.0f, 127.0f);
    codes[i] = static_cast<uint8_t>(nearest(x));
  }
}

// value = scale * code + minimum, code 0..15
void quantize_asymmetric_4(const float* values, int group, uint8_t* codes, float& scale,
                           float& minimum) {
  const auto [low, high] = std::minmax_element(values, values + group);
  minimum = f16_below(*low);
  scale = f16_above((*high - minimum) / 15.0f);
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  const auto code = [&](float value) {
    return nearest(std::clamp((value - minimum) * inverse, 0.0f, 15.0f));
  };
  for (int i = 0; i < group; i += 2) {
    codes[i / 2] = static_cast<uint8_t>(code(values[i]) | code(values[i + 1]) << 4);
  }
}

}  // namespace

void quantize_groups(const float* values, int64_t count, int bits, int group, uint8_t* codes,
                     float* scales, float* minimums, std::string_view where) {
  for (int64_t i = 0; i < count; ++i) {
    if (!(std::fabs(values[i]) <= kMostF16)) {
      fail(ExitCode::model_files, "{}: weight {} is too large to be quantised (at most {})", where,
           values[i], kMostF16);
    }
  }
  for (int64_t i = 0; i < count / group; ++i) {
    if (bits == 8) {
      quantize_symmetric_8(values + i * group, group, codes + i * group, scales[i]);
    } else {
      quantize_asymmetric_4(values + i * group, group, codes + i * group / 2, scales[i],
                            minimums[i]);
    }
  }
}

GroupedMatrix quantize(const DenseMatrix& matrix, const QuantSpec& spec) {
  check(spec.bits == 4 || spec.bits == 8, "quantisation has 4 or 8 bits");
  GroupedMatrix out =
      make_grouped(spec.bits, spec.group, spec.bits == 8, matrix.rows, matrix.columns);
  std::vector<float> row(matrix.columns);
  for (int64_t r = 0; r < matrix.rows; ++r) {
    const int64_t first = r * matrix.columns;
    to_f32(matrix.type, matrix.data.data() + first * bytes_of(matrix.type), matrix.columns,
           row.data());
    quantize_groups(row.data(), matrix.columns, spec.bits, spec.group,
                    out.codes.data() + first * spec.bits / 8, out.scales.data() + r * out.groups(),
                    out.symmetric() ? nullptr : out.minimums.data() + r * out.groups(), "quantize");
  }
  return out;
}

}  // namespace dinfer
