#pragma once

#include <cstdint>

#include "kernels/cpu/thread_pool.h"

namespace dinfer {

// Calls body(range) for parts that are all of [0, rows), on all threads where so many rows of
// `elements` each are worth waking them.
template <class Body>
void for_parts(cpu::ThreadPool& pool, int64_t rows, int64_t elements, const Body& body) {
  constexpr int64_t kAlone = 32 << 10;
  if (rows * elements <= kAlone) return body(cpu::Range{0, rows});
  pool.run([&](int rank) { body(cpu::part_of(rows, rank, pool.size())); });
}

}  // namespace dinfer
