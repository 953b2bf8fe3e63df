#pragma once

#include "kernels/cuda/launch.h"
#include "kernels/cuda/packed_matrix.h"
#include "quant/matrix.h"

namespace dinfer::cuda {

// The form that `matrix` takes on the device; no memory yet.
PackedMatrix packed_form(const HostMatrix& matrix);

// Device memory that upload() needs beside the matrix: none for dense ones.
size_t staging_bytes(const HostMatrix& matrix);

// Copies `matrix` to `to` = packed_form(matrix) with memory. The host matrix and `staging` are
// free again once the stream gets there.
void upload(const Stream& stream, const HostMatrix& matrix, const PackedMatrix& to,
            std::byte* staging);

}  // namespace dinfer::cuda
