#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

// How a value of a row is chosen: the meaning is that of RowDraw.
struct Draw {
  uint64_t seed;
  int64_t position;
  uint32_t stream;
  float temperature;
  int32_t sums;
  int32_t words;            // of `allowed`
  const uint64_t* allowed;  // bits of the ids that may be chosen; null: any
};

struct Picked {
  double score;  // with noise
  double sum;    // of exp(x - top)
  float top;
  float value;
  int32_t id;
  int32_t finite;
};

// picks[i] = the choice from row i of values [rows, columns]; element 0 of a row has id `first_id`.
// All in device memory; `workspace` of pick_workspace_bytes(most_rows), zero before the first call
// and used by nothing else.
void pick(const Stream& stream, const float* values, int64_t rows, int64_t columns,
          int32_t first_id, const Draw* draws, Picked* picks, std::byte* workspace,
          int64_t most_rows);

size_t pick_workspace_bytes(int64_t most_rows);

}  // namespace dinfer::cuda
