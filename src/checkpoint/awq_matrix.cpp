#include "checkpoint/packed_parts.h"

namespace dinfer {

// qweight I32 [columns, rows / 8], qzeros I32 [groups, rows / 8], scales [groups, rows]: the layout
// of AutoAWQ's version "gemm" (https://github.com/casper-hansen/AutoAWQ).
TensorInfo awq_matrix(const PackedParts& parts, const QuantizationConfig& config) {
  const TensorInfo& codes = parts.codes();
  const TensorInfo& scales = parts.get("scales");
  const TensorInfo& zeros = parts.get("qzeros");
  parts.expect_type(codes, {StorageType::i32});
  parts.expect_type(zeros, {StorageType::i32});
  parts.expect_scales_type(scales);
  for (const TensorInfo* tensor : {&codes, &scales, &zeros}) parts.expect_matrix(*tensor);

  const int64_t columns = codes.shape[0], rows = codes.shape[1] * 8, blocks = scales.shape[0];
  if (columns % 8 != 0) {
    parts.refuse(codes, fmt::format("has {} inputs; only multiples of 8 are supported", columns));
  }
  parts.expect_shape(scales, {blocks, rows}, "a scale for each group and output");
  parts.expect_shape(zeros, {blocks, rows / 8}, "zeros of 4 bits for each group and output");
  return parts.matrix({.layout = CodeLayout::awq,
                       .block_columns = parts.block_columns(config, scales, columns, blocks),
                       .symmetric = false,
                       .codes = codes,
                       .scales = scales,
                       .zeros = zeros},
                      rows, columns);
}

}  // namespace dinfer
