#pragma once

#include <cstdint>
#include <span>

#include "kernels/cpu/packed_matrix.h"

namespace dinfer::cpu {

// Whether every value is a binary16 number: then storing it as one loses nothing.
bool all_fit_f16(std::span<const float> values);

// Rows of a matrix before packing; see GroupedMatrix in quant/matrix.h for what they mean.
struct GroupedSource {
  const uint8_t* codes = nullptr;
  const float* scales = nullptr;
  const float* minimums = nullptr;  // none: symmetric
};

// Writes panels [begin, end) of `to`, whose shape and form are set.
void pack_grouped(const GroupedSource& from, const PackedMatrix& to, int64_t begin, int64_t end);
void pack_dense(const std::byte* from, const PackedMatrix& to, int64_t begin, int64_t end);

// out[columns] = scale * row `row`, as f32.
void unpack_row(const PackedMatrix& matrix, int64_t row, float scale, float* out);

}  // namespace dinfer::cpu
