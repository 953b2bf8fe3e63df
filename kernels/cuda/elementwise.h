#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// out[i, columns] = in[rows[i], columns], `count` rows; `rows` in device memory.
void gather_rows(const Stream& stream, const float* in, const int32_t* rows, int64_t count,
                 int64_t columns, float* out);

// Reads `bytes`, a multiple of 16, as fast as can be; the sums go to sum_words_bytes() at `sums`.
void sum_words(const Stream& stream, const std::byte* from, size_t bytes, std::byte* sums);
size_t sum_words_bytes();

}  // namespace dinfer::cuda
