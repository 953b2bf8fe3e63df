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
  const float* data = nullptr;      // rows of `stride`
  const int64_t* picked = nullptr;  // [count]: which rows these are; none: the first ones
  int64_t count = 0;
  int64_t stride = 0;
  int64_t columns = 0;  // after what is done
  const float* norm = nullptr;
  float epsilon = 0.0f;
  Activation activation = Activation::silu;

  const float* row(int64_t r) const { return data + (picked ? picked[r] : r) * stride; }
};

// Rows as 15-bit integers, a scale a block of columns: value = scale * code. A code is held as two
// bytes, code = high * 2^kHighBits + low, because the instructions that multiply bytes are the
// fastest. At 8 bits, the rounding of activations alone would change greedy answers.
struct QuantizedRows {
  static constexpr int kHighBits = 7;

  int8_t* codes = nullptr;   // [count, columns / block, 2, block]: high -127..127, low -64..63
  float* scales = nullptr;   // [count, columns / block]
  int32_t* sums = nullptr;   // [count, columns / block]: sum of a block's codes
  float* offsets = nullptr;  // [count, columns / block]: scale * sum
  int64_t count = 0;
  int64_t columns = 0;
  int block = 32;         // 16 or 32; divides columns
  bool even_odd = false;  // within each 8 columns: the even ones first (what 4-bit panels need)

  int64_t blocks() const { return columns / block; }
  int64_t row_bytes() const { return 2 * columns; }
};

// What is done to the row, for columns [begin, end): out[c - begin].
void prepare_row(const Rows& in, int64_t row, int64_t begin, int64_t end, float* out);

// The same, rounded to integers, for blocks [begin, end) of the row.
void quantize_row(const Rows& in, int64_t row, int64_t begin, int64_t end,
                  const QuantizedRows& out);

// out[c] += rms_norm(row)[c] * norm[c], of `columns` columns.
void add_normed_row(const float* row, const float* norm, float epsilon, int64_t columns,
                    float* out);

}  // namespace dinfer::cpu
