#pragma once

#include "kernels/cuda/launch.h"

namespace dinfer::cuda {

struct DecodeTask;

// One file each, so that they compile side by side.
void decode_bf16(const Stream& stream, const DecodeTask& task);
void decode_f16(const Stream& stream, const DecodeTask& task);
void decode_4_bits(const Stream& stream, const DecodeTask& task);
void decode_8_bits(const Stream& stream, const DecodeTask& task);

}  // namespace dinfer::cuda
