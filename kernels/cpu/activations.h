#pragma once

#include <cstdint>

#include "base/activation.h"

namespace dinfer::cpu {

// Rows that a matrix is multiplied with, and what is done to them on the way in.
struct Rows {
  enum class Kind : uint8_t {
    plain,
    normed,  // rms_norm(row) * norm
    gated,   // activation(row[c]) * row[columns + c]
  };
  Kind kind = Kind::plain;
  const float* data = nullptr;  // [count, stride]
  int64_t count = 0;
  int64_t stride = 0;
  int64_t columns = 0;  // after what is done
  const float* norm = nullptr;
  float epsilon = 0.0f;
  Activation activation = Activation::silu;

  const float* row(int64_t r) const { return data + r * stride; }
};

// Rows as 8-bit integers: value = scale * code, a scale a block of columns. With two planes, the
// second holds what rounding to the first left over: value = first + second.
struct QuantizedRows {
  int8_t* codes = nullptr;   // [planes, count, columns], -127..127
  float* scales = nullptr;   // [planes, count, columns / block]
  int32_t* sums = nullptr;   // [planes, count, columns / block]: sum of a block's codes
  float* offsets = nullptr;  // [planes, count, columns / block]: scale * sum
  int planes = 1;
  int64_t count = 0;
  int64_t columns = 0;
  int block = 32;         // 16 or 32; divides columns
  bool even_odd = false;  // within each 8 columns: the even ones first (what 4-bit panels need)

  int64_t blocks() const { return columns / block; }
};

// What is done to the row, for columns [begin, end): out[c - begin].
void prepare_row(const Rows& in, int64_t row, int64_t begin, int64_t end, float* out);

// The same, rounded to integers, for blocks [begin, end) of the row.
void quantize_row(const Rows& in, int64_t row, int64_t begin, int64_t end,
                  const QuantizedRows& out);

}  // namespace dinfer::cpu
