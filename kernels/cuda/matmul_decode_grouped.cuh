#pragma once

#include "kernels/cuda/matmul_decode_kernel.cuh"

namespace dinfer::cuda {

template <int kBits, int kGroup, Scales kScales>
void launch_rows(const Stream& stream, const DecodeTask& task) {
  const int64_t rows = task.rows.count;
  if (rows == 1) return launch_decode<GroupedForm<kBits, kGroup, kScales, 1>>(stream, task);
  if (rows <= 8) return launch_decode<GroupedForm<kBits, kGroup, kScales, 8>>(stream, task);
  launch_decode<GroupedForm<kBits, kGroup, kScales, 16>>(stream, task);
}

template <int kBits>
void launch_grouped(const Stream& stream, const DecodeTask& task) {
  if (!task.half_scales) {
    if (task.group_shift == 4) return launch_rows<kBits, 16, Scales::any>(stream, task);
    if (task.group_shift == 5) return launch_rows<kBits, 32, Scales::any>(stream, task);
    return launch_rows<kBits, 64, Scales::any>(stream, task);
  }
  if (task.symmetric) {
    if (task.group_shift == 5) return launch_rows<kBits, 32, Scales::half>(stream, task);
    return launch_rows<kBits, 64, Scales::half>(stream, task);
  }
  if (task.group_shift == 5) return launch_rows<kBits, 32, Scales::half_minimums>(stream, task);
  launch_rows<kBits, 64, Scales::half_minimums>(stream, task);
}

}  // namespace dinfer::cuda
