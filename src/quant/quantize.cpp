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

// The next f16 that is not below, for value >= 0; and that is not above. Ranges so rounded cover
// all their values, which are then off by half a step at most.
float f16_above(float value) {
  constexpr float kLeastNormal = 0x1p-14f;
  if (value >= kLeastNormal) {
    constexpr uint32_t kBelow = (1u << 13) - 1;  // the bits of f32's fraction that f16 has not
    return std::bit_cast<float>((std::bit_cast<uint32_t>(value) + kBelow) & ~kBelow);
  }
  const uint16_t bits = f32_to_f16(value);
  return f16_to_f32(f16_to_f32(bits) < value ? bits + 1 : bits);
}

float f16_below(float value) {
  if (value <= 0) return -f16_above(-value);
  const uint16_t bits = f32_to_f16(value);
  return f16_to_f32(f16_to_f32(bits) > value ? bits - 1 : bits);
}

// Nearest integer for |x| < 2^22, ties to even, in a form that is vectorised.
int32_t nearest(float x) {
  constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: the sum's unit in the last place is 1
  return std::bit_cast<int32_t>(x + kMagic) - std::bit_cast<int32_t>(kMagic);
}

struct Bounds {
  float low;
  float high;
};

// Integers in the order of the floats they stand for; its own inverse.
int32_t ordered(int32_t bits) { return bits ^ ((bits >> 31) & 0x7fffffff); }

// Of a group. As integers, because compilers make no vectors of comparisons of floats.
Bounds bounds_of(const float* values, int group) {
  int32_t low = INT32_MAX;
  int32_t high = INT32_MIN;
  for (int i = 0; i < group; ++i) {
    const int32_t x = ordered(std::bit_cast<int32_t>(values[i]));
    low = std::min(low, x);
    high = std::max(high, x);
  }
  return {std::bit_cast<float>(ordered(low)), std::bit_cast<float>(ordered(high))};
}

// codes[i] = the integer nearest to (values[i] - minimum) / scale. It is in the codes' range, since
// scale and minimum cover all values of the group.
void round_group(const float* values, int group, float scale, float minimum, uint8_t* codes) {
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  for (int i = 0; i < group; ++i) {
    codes[i] = static_cast<uint8_t>(nearest((values[i] - minimum) * inverse));
  }
}

// value = scale * code, code -127..127
void quantize_symmetric_8(const float* values, int group, Bounds bounds, uint8_t* codes,
                          float& scale) {
  scale = f16_above(std::max(-bounds.low, bounds.high) / 127.0f);
  round_group(values, group, scale, 0.0f, codes);
}

// value = scale * code + minimum, code 0..15
void quantize_asymmetric_4(const float* values, int group, Bounds bounds, uint8_t* codes,
                           float& scale, float& minimum) {
  minimum = f16_below(bounds.low);
  scale = f16_above((bounds.high - minimum) / 15.0f);
  uint8_t numbers[128];  // the largest group
  round_group(values, group, scale, minimum, numbers);
  for (int i = 0; i < group / 2; ++i) {
    codes[i] = static_cast<uint8_t>(numbers[2 * i] | numbers[2 * i + 1] << 4);
  }
}

}  // namespace

void quantize_groups(const float* values, int64_t count, int bits, int group, uint8_t* codes,
                     float* scales, float* minimums, std::string_view where) {
  for (int64_t i = 0; i < count / group; ++i) {
    const float* of_group = values + i * group;
    const Bounds bounds = bounds_of(of_group, group);
    if (!(bounds.low >= -kMostF16 && bounds.high <= kMostF16)) {
      fail(ExitCode::model_files,
           "{}: weights of {} to {} are too large to be quantised (at most {})", where, bounds.low,
           bounds.high, kMostF16);
    }
    if (bits == 8) {
      quantize_symmetric_8(of_group, group, bounds, codes + i * group, scales[i]);
    } else {
      quantize_asymmetric_4(of_group, group, bounds, codes + i * group / 2, scales[i], minimums[i]);
    }
  }
}

GroupedMatrix quantize(const DenseMatrix& matrix, const QuantSpec& spec) {
  check(spec.bits == 4 || spec.bits == 8, "quantisation has 4 or 8 bits");
  check(spec.group % 16 == 0 && spec.group <= 128, "groups have 16 to 128 columns");
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
