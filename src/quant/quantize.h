#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/checkpoint.h"
#include "quant/matrix.h"

namespace dinfer {

// Rows [row_begin, row_end) x columns [column_begin, column_end) of a matrix.
struct Slice {
  int64_t row_begin = 0;
  int64_t row_end = 0;
  int64_t column_begin = 0;
  int64_t column_end = 0;
};

// Quantisation asked for at load (--quant, --quant-group); bits 0: keep what the file has.
struct QuantSpec {
  int bits = 0;    // 0, 4 or 8
  int group = 32;  // 32, 64 or 128

  bool operator==(const QuantSpec&) const = default;
};

// Quantisation by module ("model.layers.0.mlp.down_proj"): its own, or that of all others.
struct QuantChoice {
  QuantChoice() = default;
  // One spec for all.
  QuantChoice(const QuantSpec& all) : otherwise(all) {}  // NOLINT(google-explicit-constructor)

  const QuantSpec& of(const std::string& module) const {
    const auto found = modules.find(module);
    return found == modules.end() ? otherwise : found->second;
  }

  QuantSpec otherwise;
  std::map<std::string, QuantSpec> modules;
};

// What a matrix with that many columns gets when `asked` is asked for: the largest power of two up
// to the asked group that divides the columns is the group; below 16 the matrix stays plain (bits
// 0).
QuantSpec fitting_quantization(const QuantSpec& asked, int64_t columns);

// Reads one slice of a 2-d tensor. Reads only the bytes that the slice needs, in large pieces.
// Plain types become a DenseMatrix of the same type; block types and packed integers become the
// GroupedMatrix with the same values. Packed matrices that the family cannot hold (stored_group 0:
// FP8, groups in the order of activations) count as plain: each value, scale and all, is rounded
// once to f16, or to what `quant` asks for. With quant.bits, plain weights become grouped: groups
// are formed on the whole row before it is cut, so the codes of an element do not depend on the
// slice. A cut inside a group splits the group (the result's group size is then the greatest common
// divisor, at least 16; where that is not possible the slice is returned dense in f32). Where
// quant.group does not divide the columns, fitting_quantization says what becomes of it. NaN or
// infinite weights or scales: Error(model_files) naming file, tensor and position.
HostMatrix load_matrix(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                       const QuantSpec& quant);

// The type of a matrix that is plain once loaded; another is a Bug.
DType plain_type(const TensorInfo& tensor);

// The part of load_matrix for matrices that become or stay plain: to `to`, rows close together.
void read_plain(const Checkpoint& checkpoint, const TensorInfo& tensor, const Slice& slice,
                std::byte* to);

// A 1-d tensor (norm weight, bias), whole or elements [begin, end), as f32. Same errors.
std::vector<float> load_vector(const Checkpoint& checkpoint, const TensorInfo& tensor);
std::vector<float> load_vector(const Checkpoint& checkpoint, const TensorInfo& tensor,
                               int64_t begin, int64_t end);

// Rounds a dense matrix to the grouped family: symmetric 8 bits, asymmetric 4 bits. Scales and
// minimums are representable in f16. `columns` must be a multiple of spec.group.
GroupedMatrix quantize(const DenseMatrix& matrix, const QuantSpec& spec);

// [rows, columns] f32, exactly the values that the matrix stands for.
std::vector<float> dequantize(const HostMatrix& matrix);

// Puts matrices with equal columns (and equal form, bits, group, symmetry, type) below each other.
// Forms that differ are brought to a common one without loss (a finer group; a minimum in place of
// symmetry; 8 bits in place of 4; f32 in place of bf16 and f16).
HostMatrix stack_rows(std::vector<HostMatrix> parts);

// Moves rows so that new row i is old row order[i].
HostMatrix permute_rows(HostMatrix matrix, std::span<const int64_t> order);

}  // namespace dinfer
