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

// Rows of an AMX tile.
constexpr int kTileRows = 16;

// Rows as 15-bit integers, a scale a block of columns: value = scale * code. A code is held as two
// bytes, code = high * 2^kHighBits + low, because the instructions that multiply bytes are the
// fastest. At 8 bits, the rounding of activations alone would change greedy answers.
struct QuantizedRows {
  static constexpr int kHighBits = 7;

  int8_t* codes = nullptr;   // [tiles, blocks, tile, 2, block]: high -127..127, low -64..63
  float* scales = nullptr;   // [tiles, blocks, tile]
  int32_t* sums = nullptr;   // [tiles, blocks, tile]: sum of a block's codes
  float* offsets = nullptr;  // [tiles, blocks, tile]: scale * sum
  int64_t count = 0;
  int64_t columns = 0;
  int block = 32;         // 16 or 32; divides columns
  bool even_odd = false;  // within each 8 columns: the even ones first (what 4-bit panels need)
  int tile = 1;           // rows that lie together, block by block; the last of these is whole, too

  int64_t blocks() const { return columns / block; }
  int64_t row_bytes() const { return 2 * columns; }
  int64_t placed_rows() const { return (count + tile - 1) / tile * tile; }
  // Where a block of a row is, in blocks.
  int64_t at(int64_t row, int64_t b) const {
    return (row / tile * blocks() + b) * tile + row % tile;
  }
};

// Rows as sums of two bf16 numbers, the nearest to the value and the nearest to what that leaves:
// 16 bits of f32's 24, as tiles are loaded.
struct SplitRows {
  static constexpr int kBlock = 32;  // columns

  uint16_t* parts = nullptr;  // [tiles, blocks, 2, tile, kBlock]; 0 past the last column
  int64_t count = 0;
  int64_t columns = 0;
  int tile = 1;  // rows that lie together; the last of these is whole, too

  int64_t blocks() const { return (columns + kBlock - 1) / kBlock; }
  int64_t row_bytes() const { return blocks() * 2 * kBlock * static_cast<int64_t>(sizeof(*parts)); }
  int64_t numbers() const { return (count + tile - 1) / tile * tile * blocks() * 2 * kBlock; }
  // The first part of a block of a row. The second lies tile * kBlock after it.
  uint16_t* at(int64_t row, int64_t b) const {
    return parts + ((row / tile * blocks() + b) * 2 * tile + row % tile) * kBlock;
  }
};

// What is done to the row, for columns [begin, end): out[c - begin].
void prepare_row(const Rows& in, int64_t row, int64_t begin, int64_t end, float* out);

// The same in two parts, for blocks [begin, end) of the row.
void split_row(const Rows& in, int64_t row, int64_t begin, int64_t end, const SplitRows& out);

// The same, rounded to integers, for blocks [begin, end) of the row.
void quantize_row(const Rows& in, int64_t row, int64_t begin, int64_t end,
                  const QuantizedRows& out);

// out[c] += rms_norm(row)[c] * norm[c], of `columns` columns.
void add_normed_row(const float* row, const float* norm, float epsilon, int64_t columns,
                    float* out);

}  // namespace dinfer::cpu
