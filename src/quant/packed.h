#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "checkpoint/packed_weight.h"
#include "quant/quantize.h"

// Matrices whose files hold codes and scales as tensors of their own (checkpoint/packed_weight.h):
// the part of load_matrix that is about them. Only the bytes of a slice are read.

namespace dinfer {

// A slice of a matrix that the quantised family holds (stored_group > 0), with the same values:
// symmetric where all zeros of the slice are the middle of the codes, or else with the minimum
// -zero * scale. Groups larger than the family's are cut. A cut inside a group makes groups finer;
// below 16 columns the slice is dense f32.
HostMatrix load_packed(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice);

// The values of any packed matrix, row by row: row of the slice, and its f32 values.
using UseRow = std::function<void(int64_t row, const float* values)>;
void read_packed_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                      const UseRow& use);

// The same values rounded to f16; those that are too large become infinite.
using UseHalves = std::function<void(int64_t row, const uint16_t* values)>;
void read_packed_halves(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                        const UseHalves& use);

// Below: what the formats' own files share.

// The first code of a word is in its lowest bits.
inline uint8_t code_of(uint32_t word, int64_t index, int bits) {
  return static_cast<uint8_t>(word >> (index * bits) & ((1u << bits) - 1));
}

// Words [row_begin, row_end) x [begin, end) of an i32 tensor.
std::vector<uint32_t> read_words(const Checkpoint& checkpoint, const TensorInfo& tensor,
                                 int64_t row_begin, int64_t row_end, int64_t begin, int64_t end);

// Each layout's codes of a slice, without sign: [rows, columns * bits / 8], as GroupedMatrix has
// them. The slice begins at a multiple of 8 columns, and ends at one or with the matrix.
std::vector<uint8_t> read_gptq_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                     const Slice& slice);
std::vector<uint8_t> read_awq_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& slice);
std::vector<uint8_t> read_row_codes(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& slice);

// Each layout's zeros, on the scale of those codes: [rows, blocks]. Here and below `blocks` stand
// for columns of a slice.
std::vector<uint8_t> read_gptq_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                     const Slice& blocks);
std::vector<uint8_t> read_awq_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& blocks);
std::vector<uint8_t> read_row_zeros(const Checkpoint& checkpoint, const PackedWeight& packed,
                                    const Slice& blocks);

// The scales of rows: [rows, blocks].
std::vector<float> read_scales(const Checkpoint& checkpoint, const PackedWeight& packed,
                               const Slice& blocks);

// read_packed_rows and read_packed_halves for one layout.
void read_fp8_rows(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                   const UseRow& use);
void read_fp8_halves(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                     const UseHalves& use);

}  // namespace dinfer
