#pragma once

#include <functional>

#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"
#include "quant/matrix.h"

namespace dinfer::cuda {

// `count` matrices of one shape, below each other, as experts.h takes them: each as two halves of
// its rows. Where the matrix is grouped, zeros pad each half to whole panels.
HostMatrix stack_in_panels(HostMatrix stack, int64_t count);

// The form that `matrix` takes on the device; no memory yet.
PackedMatrix packed_form(const HostMatrix& matrix);

// Device memory that upload() needs beside the matrix: none for dense ones.
size_t staging_bytes(const HostMatrix& matrix);

// Copies rows of `width` bytes, close together at `from` on the host, to `pitch` bytes each at
// `to`, the rest of which becomes zero. Done when it returns.
using CopyRows = std::function<void(std::byte* to, size_t pitch, const std::byte* from,
                                    size_t width, size_t rows)>;

// Brings `matrix` to `to` = packed_form(matrix) with memory. `staging` is free again once the
// stream gets there.
void upload(const Stream& stream, const HostMatrix& matrix, const PackedMatrix& to,
            std::byte* staging, const CopyRows& copy);

}  // namespace dinfer::cuda
