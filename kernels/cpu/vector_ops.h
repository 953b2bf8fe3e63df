#pragma once

#include <cstddef>
#include <cstdint>

namespace dinfer::cpu {

// into[i] += x[i]
void add_to(float* into, const float* x, int64_t count);

// into[i] += scale * x[i]
void add_scaled(float* into, const float* x, float scale, int64_t count);

// Sum of `count` words: reads memory as fast as it can be read. 64-byte aligned.
uint64_t sum_words(const uint64_t* from, size_t count);

}  // namespace dinfer::cpu
